"""The docs say what is true: code runs, tables are made from the code, every route and link is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.http.admin import Admin
from gateway.http.app import plain_routes
from gateway.settings import option_table

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"<!-- executed by tests/test_docs.py -->\n```python\n(.*?)```", re.DOTALL)


def readme_blocks() -> list[str]:
    return BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))


def test_the_readme_s_script_trains_a_model(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(readme_blocks()[0])
    command = [
        sys.executable,
        "-m",
        "gateway.cli",
        "--workspace",
        str(tmp_path / "ws"),
        "train",
        str(tmp_path / "train.py"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "outputs/model.joblib" in done.stdout
    assert "Accuracy: 0.9" in done.stdout


def test_the_readme_s_python_registers_a_model(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run(
        [sys.executable, "-c", readme_blocks()[1]],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "iris:1" in done.stdout
    assert "'Accuracy': 0.9" in done.stdout


def test_every_option_is_in_the_table_with_its_default() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for option, variable, default, meaning in option_table():
        assert f"| `{option}` | `{variable}` | {default} | {meaning} |" in page, "run scripts/docs_settings.py"


def test_every_variable_that_a_page_names_is_explained_among_the_settings() -> None:
    explained = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    pages = [*PAGES, ROOT / "Dockerfile", ROOT / "compose.yaml"]
    named = {
        name for page in pages for name in re.findall(r"\bFITSERVE_[A-Z_]+[A-Z]\b", page.read_text(encoding="utf-8"))
    }
    assert (
        sorted(name for name in named - {"FITSERVE_PORTS", "FITSERVE_MEMORY"} if f"`{name}`" not in explained) == []
    )  # that is Compose's


def test_every_route_is_in_the_docs() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    paths = {route.path for route in plain_routes(object.__new__(Admin))}
    missing = sorted(
        path for path in paths if f"{path}`" not in text and f"{path}?" not in text and "{rest" not in path
    )
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


def test_the_changelog_knows_this_version() -> None:
    from importlib.metadata import version

    assert f"## {version('fitserve')}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
