from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.package.contents import Contents, collect
from registry import Model, ResourceConfiguration, Workspace
from tests.e2e.models import code_model, diabetes_by_name, iris_svc


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """iris in two versions, the second with a sample; diabetes; a model with code of its own."""
    with Workspace.open(tmp_path / "ws") as opened:
        iris = iris_svc(tmp_path)
        Model.register(opened, iris, "iris", show_output=False)
        limits = ResourceConfiguration(cpu=0.25, memory_in_gb=0.3)
        sample = tmp_path / "sample.csv"
        sample.write_text("a,b,c,d\n5.1,3.5,1.4,0.2\n")
        Model.register(opened, iris, "iris", resource_configuration=limits, sample=sample, show_output=False)
        Model.register(opened, diabetes_by_name(tmp_path), "diabetes", show_output=False)
        file, code = code_model(tmp_path, "return [1] * len(X)")
        Model.register(opened, file, "custom", code=code, show_output=False)
        yield opened


@pytest.fixture
def contents(workspace: Workspace) -> Contents:
    return collect(workspace, ["iris"])
