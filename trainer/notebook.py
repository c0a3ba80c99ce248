"""What a notebook needs before it runs: the packages that its cells install, and a kernel. Read as JSON; nothing is executed."""

import importlib.metadata
import importlib.util
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement

from registry.environment import Environment
from registry.errors import InvalidArgument, OperatorError

SUFFIX: Final = ".ipynb"
_INSTALL: Final = re.compile(
    r"^\s*[!%]+\s*(?:\S*python[\d.]*\s+-m\s+|\{sys\.executable\}\s+-m\s+)?pip3?\s+install\s+(?P<words>.+)$"
)
_WITH_VALUE: Final = frozenset(
    {"-c", "--constraint", "-i", "--index-url", "--extra-index-url", "-f", "--find-links", "-t", "--target"}
)
_KERNEL: Final = "ipykernel"
_OURS: Final = ("azureml",)  # the shim stands in for these


class NotebookExtraMissing(OperatorError):
    def __init__(self) -> None:
        super().__init__(
            "running a notebook needs nbclient and ipykernel: install fitserve with its extra 'notebook' "
            "(pip install '.[notebook]' in its checkout)"
        )


def is_notebook(script: str | None) -> bool:
    return script is not None and script.lower().endswith(SUFFIX)


def code_cells(path: Path) -> list[str]:
    """The sources of the code cells, in order.

    Raises:
        InvalidArgument: it is not a notebook.
    """
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidArgument("script", f"{path.name} is not a notebook of format 4: {error}") from None


def install_line(line: str) -> list[str] | None:
    """The words behind ``!pip install`` or ``%pip install``; None for another line."""
    found = _INSTALL.match(line)
    if found is None:
        return None
    try:
        return shlex.split(found["words"], comments=True)
    except ValueError:
        return found["words"].split()


def requirements_of(path: Path) -> list[str]:
    """What the notebook's cells install, as pip requirements."""
    found: list[str] = []
    for source in code_cells(path):
        for line in source.splitlines():
            words = install_line(line)
            found += [] if words is None else _requirements(words, path.parent)
    return list(dict.fromkeys(found))


def _requirements(words: list[str], folder: Path) -> Iterator[str]:
    rest = iter(words)
    for word in rest:
        if word in ("-r", "--requirement"):
            file = folder / next(rest, "")
            if file.is_file():
                lines = (line.split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
                yield from (line for line in lines if line and not line.startswith("-"))
        elif word in _WITH_VALUE:
            next(rest, None)
        elif not word.startswith("-") and not word.startswith(_OURS):
            yield word


def environment_for(environment: Environment | None, path: Path) -> Environment | None:
    """The environment of a notebook's run: with a kernel, and with what its cells install.

    None, which is fitserve's own Python, stays where that has all of it: an interpreter that others use is never changed.

    Raises:
        NotebookExtraMissing: fitserve's own Python has no nbclient.
    """
    if importlib.util.find_spec("nbclient") is None:
        raise NotebookExtraMissing
    wanted = requirements_of(path)
    if environment is None:
        missing = [requirement for requirement in wanted if not _is_here(requirement)]
        if not missing and importlib.util.find_spec(_KERNEL) is not None:
            return None
        return Environment.on_own("notebook", [*missing, _KERNEL])
    if environment.python.user_managed_dependencies:
        return environment
    made = Environment.from_spec(environment.name, environment.spec())
    named = {_name(requirement) for requirement in made.python.conda_dependencies.pip_packages}
    for requirement in _without([*wanted, _KERNEL], named):
        made.python.conda_dependencies.add_pip_package(requirement)
        made.on_top += [requirement] if made.on_top else []
    return made


def _without(requirements: Iterable[str], named: set[str]) -> list[str]:
    """Those of packages that are not asked for already; the environment's own wish comes first."""
    return [requirement for requirement in requirements if _name(requirement) not in named]


def _name(requirement: str) -> str:
    try:
        return Requirement(requirement).name.lower().replace("_", "-")
    except InvalidRequirement:
        return requirement


def _is_here(requirement: str) -> bool:
    try:
        wanted = Requirement(requirement)
        return importlib.metadata.version(wanted.name) in wanted.specifier
    except (InvalidRequirement, importlib.metadata.PackageNotFoundError):
        return False
