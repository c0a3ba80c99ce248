"""The docs say what is true: code runs, tables are made from the code, every route and link is there."""

import ast
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import COMMANDS
from gateway.http.admin import Admin
from gateway.http.app import plain_routes
from gateway.settings import option_table
from tests.e2e.gateway import ENVIRONMENT

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
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


def script(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / f"{name}.py"))


@pytest.mark.parametrize(
    ("name", "page"), [("docs_cli", "cli.md"), ("docs_python", "python.md"), ("docs_settings", "settings.md")]
)
def test_a_page_that_is_made_from_the_code_is_up_to_date(name: str, page: str) -> None:
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == script(name)["page"](), "run make docs"


def test_the_table_of_all_commands_is_up_to_date() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert script("docs_cli")["with_table"](text) == text, "run make docs"
    assert sorted(name for names in script("docs_cli")["NOUNS"].values() for name in names) == sorted(COMMANDS)


def test_every_public_name_is_explained() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    for package, found in script("docs_python")["classes"]():
        assert f"## {package}.{found.__name__}\n" in text


def test_commands_that_the_pages_show_exist_with_their_options() -> None:
    """In blocks of a console, `fitserve COMMAND --option …`: the command knows the option."""
    known = {name: command for name, command, _ in script("docs_cli")["commands"]()}
    wrong = []
    for page in PAGES:
        for line in re.findall(r"^[$#] (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            told = re.fullmatch(r"(?:.*(?: |bin/))?fitserve (.*)", re.split(r"\s(?:#|\||--|&&)(?:\s|$)", line)[0])
            words = told[1].split() if told else []
            while words and words[0].startswith("-"):
                words = words[2:]  # --workspace FOLDER
            name = next((" ".join(words[:count]) for count in (2, 1) if " ".join(words[:count]) in known), None)
            if name is None:
                wrong += [f"{page.name}: {line}"] if words and not words[0].isupper() else []
                continue
            options = {flag for option in known[name].params for flag in (*option.opts, *option.secondary_opts)}
            if name in ("exec", "notebook"):  # what follows is another program's
                continue
            flags = {word.partition("=")[0] for word in words if re.fullmatch(r"-{1,2}[a-z][a-z-]*(=.*)?", word)}
            wrong += [f"{page.name}: {line}: {flag}" for flag in flags - options]
    assert wrong == []


def test_the_quickstart_of_a_data_scientist_runs(tmp_path: Path) -> None:
    """Its marked blocks, one after the other, in an empty folder."""
    page = (ROOT / "docs" / "quickstart" / "data-scientist.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- executed by tests/test_docs.py -->\n```(\w+)\n(.*?)```", page, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "console"]
    programs = Path(sys.executable).parent
    environment = {**ENVIRONMENT, "FITSERVE_PORT": "0", "PATH": f"{programs}:{os.environ['PATH']}"}
    commands = [[sys.executable, "-c", blocks[0][1]]]
    commands += [["bash", "-c", line.removeprefix("$ ")] for line in blocks[1][1].splitlines()]
    try:
        for command in commands:
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
    finally:
        subprocess.run([programs / "fitserve", "stop"], cwd=tmp_path, env=environment, timeout=100)
    assert (tmp_path / "answers.csv").read_text().splitlines() == ["predict", "0", "0", "0"]


def sentences() -> set[str]:
    """All texts in the source, those between the placeholders of f-strings too."""
    return {
        node.value
        for package in ("registry", "trainer", "gateway")
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_messages_that_are_explained_are_those_that_the_code_gives() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| ") and "`" in line.split(" | ")[0]]
    given = sentences()
    fragments = [fragment for row in rows for fragment in re.findall(r"`([^`]+)`", row)]
    assert len(fragments) > 30
    assert [fragment for fragment in fragments if not any(fragment in sentence for sentence in given)] == []


def test_no_page_tells_to_install_fitserve_from_an_index() -> None:
    """It is not published there, and the name may be somebody else's."""
    texts = [
        *PAGES,
        *(file for package in ("registry", "trainer", "gateway") for file in (ROOT / package).rglob("*.py")),
    ]
    found = [
        f"{page.name}: {line.strip()}"
        for page in texts
        for line in page.read_text(encoding="utf-8").splitlines()
        if re.search(r"(pip|pipx|tool)\s+install(\s+-\S+)*\s+['\"]?fitserve\b(?!-)", line)
    ]
    assert found == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


def test_the_changelog_knows_this_version() -> None:
    from importlib.metadata import version

    assert f"## {version('fitserve')}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_large_part_is_justified_and_every_room_is_described() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    wanted = set()
    for package in ("registry", "trainer", "gateway"):
        for folder in [ROOT / package, *(path for path in (ROOT / package).iterdir() if path.is_dir())]:
            files = folder.rglob("*.py") if folder.name == "shim" else folder.glob("*.py")
            if sum(len(file.read_bytes().splitlines()) for file in files) > 500 and folder.name != "gateway":
                wanted.add(folder.relative_to(ROOT).as_posix())
    parts = text.partition("## What the larger parts buy")[2].partition("\n## ")[0]
    assert {part for part in wanted if f"| `{part}` | " not in parts} == set()
    rooms = text.partition("## Rooms of the gateway")[2].partition("\n## ")[0]
    folders = {path.name for path in (ROOT / "gateway").iterdir() if (path / "__init__.py").is_file()}
    assert set(re.findall(r"^\| \d \| `(\w+)` \|", rooms, re.MULTILINE)) == folders


def test_the_glossary_has_fifteen_words() -> None:
    glossary = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Glossary")[2]
    assert len(re.findall(r"^\| (?!word|---)", glossary, re.MULTILINE)) == 15


def test_files_that_the_architecture_names_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:gateway|registry|trainer|tests)/[\w./]+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []
