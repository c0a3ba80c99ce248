"""Keys of one service. They are not stored: each is made from a secret of the workspace, the service and a number.

The record of a service holds their SHA-256, which is all that HTTP processes get to know. A key that a person chose
cannot be made again; of such a one only the hash is there.
"""

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.auth.keys import digest
from registry.errors import InvalidArgument
from registry.records import Json

SLOTS: Final = ("Primary", "Secondary")
_FILE: Final = "gateway.secret"
_LEAST_LENGTH: Final = 8


def first_keys(root: Path, service: str, given: Mapping[str, str | None]) -> dict[str, Json]:
    """Settings of a service whose keys are on; `given` are those that a person chose, by slot."""
    settings: dict[str, Any] = {"key_numbers": [secrets.randbits(32), secrets.randbits(32)]}
    settings["keys"] = [digest(_made(root, service, slot, settings["key_numbers"][i])) for i, slot in enumerate(SLOTS)]
    for slot, key in given.items():
        if key is not None:
            settings.update(renewed(root, service, settings, slot, key))
    return settings


def renewed(root: Path, service: str, settings: Mapping[str, Json], slot: str, key: str | None) -> dict[str, Json]:
    """What changes in the settings when one key is replaced; the other one stays in force.

    Raises:
        InvalidArgument: there is no such slot, or the key that was chosen is too short.
    """
    if not isinstance(slot, str) or slot.capitalize() not in SLOTS:
        raise InvalidArgument("key", f"{slot!r} is not one of: {', '.join(SLOTS)}")
    if key is not None and len(key) < _LEAST_LENGTH:
        raise InvalidArgument("set_key", f"a key of {len(key)} characters is refused; use at least {_LEAST_LENGTH}")
    slot = slot.capitalize()
    at = SLOTS.index(slot)
    numbers, digests = list(settings["key_numbers"]), list(settings["keys"])
    numbers[at] = None if key is not None else secrets.randbits(32)
    digests[at] = digest(key if key is not None else _made(root, service, slot, numbers[at]))
    return {"key_numbers": numbers, "keys": digests}


def keys_of(root: Path, service: str, settings: Mapping[str, Json]) -> tuple[str | None, str | None]:
    """Primary and secondary; None for one that a person chose."""
    first, second = (
        None if number is None else _made(root, service, slot, number)
        for slot, number in zip(SLOTS, settings["key_numbers"], strict=True)
    )
    return first, second


def _made(root: Path, service: str, slot: str, number: int) -> str:
    mac = hmac.digest(_secret(root), f"{service}/{slot}/{number}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(mac[:24]).decode()


def _secret(root: Path) -> bytes:
    """Of the workspace: a file that only its owner can read, made once."""
    path = root / _FILE
    if not path.exists():
        draft = root / f".{_FILE}.{secrets.token_hex(8)}"
        draft.touch(mode=0o600)
        draft.write_bytes(secrets.token_bytes(32))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was first; its secret is the one
        finally:
            draft.unlink()
    return path.read_bytes()
