"""What the pages on deployment show is what there is: the systemd unit, compose.yaml, the Dockerfile."""

import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.package.context import IMAGE_PYTHON, default_base
from gateway.settings import Settings

ROOT = Path(__file__).parent.parent


def unit() -> str:
    page = (ROOT / "docs" / "systemd.md").read_text(encoding="utf-8")
    return re.findall(r"<!-- verified by tests/test_deployment.py -->\n```ini\n(.*?)```", page, re.DOTALL)[0]


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8")))


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    file = tmp_path / "fitserve.service"
    file.write_text(unit().replace("/opt/fitserve/bin/fitserve", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in done.stderr.splitlines() if "fitserve.service" in line]
    assert said == [], done.stderr
    file.write_text(file.read_text().replace("KillMode=mixed", "KillMode=gentle"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "kill mode" in done.stderr  # it looks at what it is given


def test_the_unit_waits_for_the_drain() -> None:
    drain = int(re.findall(r"FITSERVE_DRAIN_S=(\d+)", unit())[0])
    assert int(re.findall(r"TimeoutStopSec=(\d+)", unit())[0]) > drain + 10
    assert "Delegate=yes" in unit()


def test_compose_runs_the_image_that_is_built_and_gives_it_time() -> None:
    gateway = compose()["services"]["gateway"]
    assert gateway["image"] == default_base() == f"localhost/fitserve:{version('fitserve')}"
    assert int(gateway["stop_grace_period"].removesuffix("s")) > int(gateway["environment"]["FITSERVE_DRAIN_S"]) + 5
    mounts = [mount.partition(":")[2] for mount in gateway["volumes"]]
    assert gateway["environment"]["FITSERVE_ARTIFACTS"] == f"file://{mounts[0]}"
    assert f" {mounts[0]} " in dockerfile()  # belongs to the image's user
    assert (gateway["read_only"], gateway["cap_drop"]) == (True, ["ALL"])


def test_compose_waits_for_the_database_that_stays() -> None:
    """Asked at its socket, the server that the image starts only to fill a new volume would be taken for it."""
    services = compose()["services"]
    assert "--host" in services["database"]["healthcheck"]["test"]
    assert services["gateway"]["depends_on"]["database"]["condition"] == "service_healthy"


def test_packages_know_the_python_of_the_image() -> None:
    assert f"python:{IMAGE_PYTHON}-slim-bookworm\n" in dockerfile()


def test_variables_of_the_image_are_options() -> None:
    options = {f"FITSERVE_{name.upper()}" for name in Settings.__dataclass_fields__}
    named = set(re.findall(r"\b(FITSERVE_[A-Z_]+)=", dockerfile()))
    assert named - options == {"FITSERVE_WORKSPACE", "FITSERVE_WORKSPACE_FOLDER"}


def test_the_image_ends_within_dockers_patience() -> None:
    drain = float(re.findall(r"FITSERVE_DRAIN_S=(\d+)", dockerfile())[0])
    assert drain + 5 <= 10  # and 5 s for its children


def test_the_image_is_nobodys_and_says_what_it_is() -> None:
    last = dockerfile().rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:0$", last, re.MULTILINE)
    assert f"ARG VERSION={version('fitserve')}" in last
    assert "HEALTHCHECK" in last
    assert "apt-get" not in last
