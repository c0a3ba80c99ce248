"""Requirement lines as pip takes them: their names, the options that may stand between them, and what is met by us."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement

from registry.errors import InvalidArgument, shown

_NAME: Final = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[^\]]*\])?\s*(.*)", re.DOTALL)
_CLAUSE: Final = r"(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9][A-Za-z0-9.*!+_-]*"
_REST: Final = re.compile(rf"(?:(\()?\s*{_CLAUSE}(?:\s*,\s*{_CLAUSE})*\s*,?\s*(?(1)\)))?\s*(;\s*\S.*)?|@\s*\S.*")
# Options of a requirements file that say where packages come from; `-r` is followed, all others are refused.
_OPTIONS: Final = frozenset(
    {"--index-url", "--extra-index-url", "--find-links", "--no-index", "--pre", "--trusted-host", "--prefer-binary"}
)
_SHORT: Final = {"-i": "--index-url", "-f": "--find-links"}
_FLAGS: Final = frozenset({"--no-index", "--pre", "--prefer-binary"})
_SHIMMED: Final = re.compile(r"azureml(-.*)?")
_DEEPEST: Final = 10


@dataclass(frozen=True)
class Requirements:
    """`packages` to install, `options` such as ``--pre`` or ``--index-url URL``, `shimmed` ones that our azureml shim stands in for."""

    packages: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    shimmed: tuple[str, ...] = ()


def normalized(name: str) -> str:
    """A package name as indexes compare it: ``Foo_Bar`` is ``foo-bar``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def package_name(requirement: str) -> str:
    """The normalized name of ``scikit-learn>=1.0``, ``pkg @ https://…`` and the like.

    Raises:
        InvalidArgument: it is not a requirement.
    """
    return normalized(_parts(requirement)[0])


def pinned_version(requirement: str) -> str | None:
    """``1.5.2`` of ``scikit-learn==1.5.2``; None where the version is open in any way."""
    found = re.fullmatch(r"\(?\s*={2,3}\s*([0-9][A-Za-z0-9.!+_-]*)\s*\)?\s*(;.*)?", _parts(requirement)[2])
    return found.group(1) if found else None


def has_version(requirement: str) -> bool:
    """Whether it says anything about the version (or the place) of the package."""
    return bool(_parts(requirement)[2].partition(";")[0].strip())


def parse_lines(lines: Iterable[str], source: str) -> Requirements:
    """Requirement lines of `source` (a file name, for the errors), sorted, each once.

    Raises:
        InvalidArgument: a line is neither a requirement nor an option that is taken.
    """
    packages: set[str] = set()
    shimmed: set[str] = set()
    options: list[str] = []
    for line in _joined(lines):
        if line.startswith("-"):
            option = _option(line, source)
            if option not in options:
                options.append(option)
            continue
        requirement = _requirement(line, source)
        (shimmed if _SHIMMED.fullmatch(package_name(requirement)) else packages).add(requirement)
    return Requirements(tuple(sorted(packages)), tuple(options), tuple(sorted(shimmed)))


def read_file(path: Path) -> Requirements:
    """A requirements file with those that it includes by ``-r``.

    Raises:
        InvalidArgument: it is missing, not text, includes itself, or a line is not taken.
    """
    return parse_lines(_lines(path, 0), path.name)


def _lines(path: Path, depth: int) -> list[str]:
    if depth > _DEEPEST:
        raise InvalidArgument(path.name, "it includes itself by -r")
    try:
        content = path.read_bytes()
        # PowerShell's `pip freeze > requirements.txt` writes UTF-16.
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise InvalidArgument(path.name, f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgument(path.name, "it is not a text file in UTF-8 or UTF-16") from None
    lines: list[str] = []
    for line in _joined(text.splitlines()):
        included = re.fullmatch(r"(?:-r|--requirement)[\s=]*(\S.*)", line)
        if included:
            lines += _lines(path.parent / included.group(1), depth + 1)
        else:
            lines.append(line)
    return lines


def _joined(lines: Iterable[str]) -> Sequence[str]:
    """Without comments and empty lines; a backslash at the end of a line joins the next one to it."""
    kept: list[str] = []
    pending = ""
    for line in lines:
        text = pending + re.sub(r"(^|\s)#.*", "", line).rstrip()
        pending = ""
        if text.endswith("\\"):
            pending = text[:-1]
        elif text.strip():
            kept.append(text.strip())
    return [*kept, pending.strip()] if pending.strip() else kept


def _option(line: str, source: str) -> str:
    name, _, value = re.sub(r"^(-[if])(?=\S)", r"\1 ", line).partition("=" if re.match(r"--[a-z-]+=", line) else " ")
    name = _SHORT.get(name.strip(), name.strip())
    if name in ("-e", "--editable"):
        raise InvalidArgument(
            source,
            f"{shown(line)} names a folder, which can change: put the module beside the script, or name a release",
        )
    if name not in _OPTIONS:
        raise InvalidArgument(
            source, f"the option {shown(name)} is not taken; there are: {', '.join(sorted(_OPTIONS))}, -r"
        )
    value = value.strip()
    if bool(value) == (name in _FLAGS):
        raise InvalidArgument(source, f"{shown(line)}: the option {name} takes {'no' if value else 'a'} value")
    return f"{name} {value}".rstrip()


def _requirement(line: str, source: str) -> str:
    line = re.split(r"\s--(?:hash|global-option|config-settings)[=\s]", line)[0].strip()
    if re.match(r"[a-z+]+://|git\+|\.{0,2}/|file:", line) or (
        "@" not in line and line.endswith((".whl", ".tar.gz", ".zip"))
    ):
        raise InvalidArgument(
            source, f"{shown(line)} has no package name: write 'name @ https://…' for a URL; local paths are not taken"
        )
    try:
        name, extras, rest = _parts(line)
    except InvalidArgument:
        raise InvalidArgument(source, f"{shown(line)} is not a requirement such as 'scikit-learn==1.5.2'") from None
    rest = re.sub(r"\s*(===|==|~=|!=|<=|>=|<|>|,)\s*", r"\1", rest.strip())
    return f"{name}{extras}{' ' if rest.startswith(('@', ';')) else ''}{rest}"


def _parts(requirement: str) -> tuple[str, str, str]:
    found = _NAME.fullmatch(requirement.strip())
    if not found or not _REST.fullmatch(found.group(3)) or "\n" in requirement:
        raise InvalidArgument("requirement", f"{shown(requirement)} is not a requirement such as 'scikit-learn==1.5.2'")
    return found.group(1), found.group(2) or "", found.group(3)


def is_met(requirement: str, releases: Mapping[str, str]) -> bool:
    """Whether `releases`, by normalized name, hold what is asked for."""
    try:
        wanted = Requirement(requirement)
    except InvalidRequirement:
        return False
    release = releases.get(normalized(wanted.name))
    return release is not None and wanted.specifier.contains(release, prereleases=True)


def checked(requirement: str) -> str:
    """`requirement` as it is.

    Raises:
        InvalidArgument: it is not one.
    """
    package_name(requirement)
    return requirement
