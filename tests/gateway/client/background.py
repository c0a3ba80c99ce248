"""A workspace with a model, whose gateway is started in the background by whoever deploys."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import Webservice
from gateway.client.daemon import stop_gateway
from registry.sdk.model import Model
from registry.sdk.workspace import Workspace
from tests.e2e.models import iris_svc


@contextmanager
def workspace_with_iris(folder: Path) -> Iterator[Workspace]:
    """With an SVC (version 1), and no other process of ours at its end."""
    with pytest.MonkeyPatch.context() as patch, Workspace.open(folder / "ws") as workspace:
        for name in [name for name in os.environ if name.startswith("FITSERVE_")]:
            patch.delenv(name)
        patch.setenv("FITSERVE_PORT", "0")
        Model.register(workspace, iris_svc(folder), "iris", show_output=False)
        yield workspace
        stop_gateway(workspace)


def deploy(workspace: Workspace, name: str, model: Model | str, **given: Any) -> Webservice:
    """Deployed and healthy."""
    service = Webservice.deploy(workspace, name, [model], say=lambda _: None, **given)
    service.wait_for_deployment()
    return service
