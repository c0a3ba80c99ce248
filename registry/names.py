"""Names, ids and digests, checked so that none is ever a path, a header or a query.

Azure ML v1 allows ``[a-zA-Z0-9][a-zA-Z0-9\\-._]{0,254}`` for models and
``[a-zA-Z0-9][\\w\\-]{0,254}`` for experiments; both are narrowed here to ASCII and to names without ``..``.
"""

import re
from typing import Final

from registry.errors import InvalidArgument, InvalidName

MODEL_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9\-._]{0,254}")
EXPERIMENT_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_\-]{0,254}")
SERVICE_NAME: Final = re.compile(r"[a-z]([a-z0-9\-]{1,30}[a-z0-9])")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def check_name(kind: str, name: object, pattern: re.Pattern[str] = MODEL_NAME) -> str:
    """Return `name` if it is a good name for a `kind` ("model", "experiment", "environment", …).

    Raises:
        InvalidName: it is not text, has other characters, or holds ``..``.
    """
    if not isinstance(name, str) or not pattern.fullmatch(name) or ".." in name:
        raise InvalidName(kind, name, pattern.pattern)
    return name


def split_id(id: str) -> tuple[str, int]:
    """Name and version of ``name:version``.

    Raises:
        InvalidArgument, InvalidName
    """
    name, separator, version = id.rpartition(":")
    number = version_number(version) if separator else None
    if number is None:
        raise InvalidArgument("id", f"{id!r} is not name:version")
    return check_name("model", name), number


def version_number(version: int | str | None) -> int | None:
    """
    Raises:
        InvalidArgument: it is not a whole number.
    """
    if version is None or (isinstance(version, int) and not isinstance(version, bool)):
        return version
    if isinstance(version, str) and version.isascii() and version.isdigit():
        return int(version)
    raise InvalidArgument("version", f"{version!r} is not a whole number")


def is_digest(text: str) -> bool:
    return bool(_DIGEST.fullmatch(text))


def check_digest(text: str) -> str:
    """No other text ever becomes part of a path."""
    if not is_digest(text):
        raise InvalidArgument("digest", f"{text[:80]!a} is not 64 hexadecimal digits")
    return text
