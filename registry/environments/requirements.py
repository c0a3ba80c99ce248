"""Requirement lines as pip takes them: their names, the options that may stand between them, and what is met by us."""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from registry.errors import InvalidArgument, shown

# ``>=1.16.*``, which old installers took and packaging does not.
_WILDCARD: Final = re.compile(r"([<>]=?\s*\d+(?:\.\d+)*)\.\*")
# Options of a requirements file that say where packages come from; `-r` is followed, all others are refused.
_OPTIONS: Final = frozenset(
    {"--index-url", "--extra-index-url", "--find-links", "--no-index", "--pre", "--trusted-host", "--prefer-binary"}
)
_SHORT: Final = {"-i": "--index-url", "-f": "--find-links"}
_FLAGS: Final = frozenset({"--no-index", "--pre", "--prefer-binary"})
_SHIMMED: Final = re.compile(r"azureml(-.*)?")
_DEEPEST: Final = 10
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")  # written by PowerShell


@dataclass(frozen=True)
class Requirements:
    """`packages` to install, `options` such as ``--pre`` or ``--index-url URL``, `shimmed` ones that our azureml shim stands in for.
    `notes` say what is read as something else than was written."""

    packages: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    shimmed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def normalized(name: str) -> str:
    """A package name as indexes compare it: ``Foo_Bar`` is ``foo-bar``."""
    return str(canonicalize_name(name))


@functools.lru_cache(4096)
def parsed(requirement: str) -> Requirement:
    """
    Raises:
        InvalidArgument: it is not a requirement.
    """
    try:
        return Requirement(_WILDCARD.sub(r"\1", requirement))
    except InvalidRequirement:
        raise InvalidArgument(
            "requirement", f"{shown(requirement)} is not a requirement such as 'scikit-learn==1.5.2'"
        ) from None


def package_name(requirement: str) -> str:
    """The normalized name of ``scikit-learn>=1.0``, ``pkg @ https://…`` and the like.

    Raises:
        InvalidArgument: it is not a requirement.
    """
    return normalized(parsed(requirement).name)


def pinned_version(requirement: str) -> str | None:
    """``1.5.2`` of ``scikit-learn==1.5.2``; None where the version is open in any way."""
    pins = [each for each in parsed(requirement).specifier if each.operator in ("==", "===")]
    open_ = len(parsed(requirement).specifier) != 1 or not pins or pins[0].version.endswith("*")
    return None if open_ else pins[0].version


def has_version(requirement: str) -> bool:
    """Whether it says anything about the version (or the place) of the package."""
    return bool(parsed(requirement).specifier or parsed(requirement).url)


def wanted_by(python: Sequence[int], requirements: Iterable[str], name: str) -> list[str]:
    """Those of `requirements` that ask for the package `name` where the Python has that version, by their markers."""
    numbers = [str(number) for number in (*python, 0, 0)][:3]
    facts = {"python_version": ".".join(numbers[:2])}
    facts |= dict.fromkeys(("python_full_version", "implementation_version"), ".".join(numbers))
    found = [each for each in requirements if package_name(each) == name]
    return [each for each in found if (marker := parsed(each).marker) is None or marker.evaluate(facts)]


def pinned_for(python: Sequence[int], requirements: Iterable[str], name: str) -> str | None:
    """The version that `requirements` pin the package `name` to, where the Python has that version."""
    pins = [pinned_version(each) for each in wanted_by(python, requirements, name)]
    return next((pin for pin in pins if pin is not None), None)


def parse_lines(lines: Iterable[str], source: str) -> Requirements:
    """Requirement lines of `source` (a file name, for the errors), sorted, each once.

    Raises:
        InvalidArgument: a line is neither a requirement nor an option that is taken.
    """
    packages: set[str] = set()
    shimmed: set[str] = set()
    options: list[str] = []
    notes: dict[str, None] = {}
    for line in _joined(lines):
        if line.startswith("-"):
            option = _option(line, source)
            if option not in options:
                options.append(option)
            continue
        requirement, note = _requirement(line, source)
        if note is not None:
            notes[f"{source}: {note}"] = None
        (shimmed if _SHIMMED.fullmatch(package_name(requirement)) else packages).add(requirement)
    return Requirements(tuple(sorted(packages)), tuple(options), tuple(sorted(shimmed)), tuple(notes))


def read_lines(path: Path) -> list[str]:
    """The lines of a requirements file and of those that it includes by ``-r``, for `parse_lines`.

    Raises:
        InvalidArgument: it is missing, not text, or includes itself.
    """
    return _lines(path, 0)


def _lines(path: Path, depth: int) -> list[str]:
    if depth > _DEEPEST:
        raise InvalidArgument(path.name, "it includes itself by -r")
    try:
        data = path.read_bytes()
        text = data.decode("utf-16" if data[:2] in _UTF16 else "utf-8-sig")
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


def _requirement(line: str, source: str) -> tuple[str, str | None]:
    """In canonical form, and what there is to say about it."""
    line = re.split(r"\s--(?:hash|global-option|config-settings)[=\s]", line)[0].strip()
    if re.match(r"[a-z+]+://|git\+|\.{0,2}/|file:", line) or (
        "@" not in line and line.endswith((".whl", ".tar.gz", ".zip"))
    ):
        raise InvalidArgument(
            source, f"{shown(line)} has no package name: write 'name @ https://…' for a URL; local paths are not taken"
        )
    try:
        requirement = Requirement(str(parsed(line)))
    except InvalidArgument:
        raise InvalidArgument(source, f"{shown(line)} is not a requirement such as 'scikit-learn==1.5.2'") from None
    note = _without_place(requirement) or _with_real_name(requirement)
    return _text(requirement), note


def _with_real_name(requirement: Requirement) -> str | None:
    """On PyPI `sklearn` is an empty package, whose releases are all 0.0; gives a note where it is asked for."""
    if normalized(requirement.name) != "sklearn":
        return None
    kept = [each for each in requirement.specifier if not each.version.startswith("0.0")]
    requirement.name, requirement.specifier = "scikit-learn", SpecifierSet(",".join(map(str, kept)))
    return "sklearn is the name of the module: scikit-learn is taken"


def _without_place(requirement: Requirement) -> str | None:
    """conda's `pip freeze` names the folders that packages were built in, on another machine; gives a note where one is left out."""
    place = urlsplit(requirement.url or "")
    if place.scheme != "file" or Path(unquote(place.path)).exists():
        return None
    release = _release_in(unquote(place.path).rpartition("/")[2])
    requirement.url, requirement.specifier = None, SpecifierSet(release and f"=={release}")
    return f"{requirement.name} was built at file:{place.path}, which is not on this machine: {_text(requirement)} is taken"


def _release_in(file: str) -> str:
    """The release that the name of a wheel or source archive tells, else nothing."""
    for parse in (parse_wheel_filename, parse_sdist_filename):
        try:
            return str(parse(file)[1])
        except (InvalidWheelFilename, InvalidSdistFilename):
            pass
    return ""


def _text(requirement: Requirement) -> str:
    """Lower bounds before upper ones, as people write them."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    parts = sorted(map(str, requirement.specifier), key=lambda part: ("=~><!".index(part[0]), part))
    place = f" @ {requirement.url}" if requirement.url else ""
    marker = f"{' ' if place else ''}; {requirement.marker}" if requirement.marker else ""
    return f"{requirement.name}{extras}{','.join(parts)}{place}{marker}"


def is_met(requirement: str, releases: Mapping[str, str]) -> bool:
    """Whether `releases` of this Python, by normalized name, hold what is asked for."""
    wanted = parsed(requirement)
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    release = releases.get(normalized(wanted.name))
    return release is not None and wanted.specifier.contains(release, prereleases=True)


def checked(requirement: str) -> str:
    """`requirement` as it is.

    Raises:
        InvalidArgument: it is not one.
    """
    parsed(requirement)
    return requirement
