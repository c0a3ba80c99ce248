"""Bearer keys: where they come from and what is kept of them.

A key is on for any address but loopback, and wherever the operator names one. It comes from ``FITSERVE_KEY``, else the
first line of the key file, else it is the one made at an earlier start, of which the workspace keeps only the SHA-256;
else one is made and shown once.
"""

import hashlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.settings import Settings
from registry.errors import InvalidArgument
from registry.stores.base import MetadataStore

_STORED: Final = "key_sha256"
_LEAST_LENGTH: Final = 8


@dataclass(frozen=True)
class Keys:
    """`digests`: SHA-256 of each key in force, empty when none is asked for. `generated`: to be shown once."""

    digests: tuple[str, ...] = ()
    generated: str | None = None


def keys_in_force(metadata: MetadataStore, settings: Settings, environ: Mapping[str, str] = os.environ) -> Keys:
    """The keys that a gateway with these settings asks for.

    Raises:
        InvalidArgument: a key is empty or shorter than 8 characters, or the key file cannot be read.
    """
    given = _given(settings, environ)
    if given is not None:
        return Keys((digest(given),))
    if not settings.needs_key:
        return Keys()
    made = secrets.token_urlsafe(32)
    stored = metadata.get_value(_STORED) or metadata.set_value(_STORED, digest(made), only_if_absent=True)
    return Keys((str(stored),), made if stored == digest(made) else None)


def digest(key: str) -> str:
    """SHA-256 of a key in hexadecimal: what is stored and compared."""
    return hashlib.sha256(key.encode()).hexdigest()


def _given(settings: Settings, environ: Mapping[str, str]) -> str | None:
    if settings.no_auth:
        return None
    if "FITSERVE_KEY" in environ:
        return _good(environ["FITSERVE_KEY"].strip(), "FITSERVE_KEY")  # as HTTP does with a header's ends
    if settings.key_file:
        try:
            text = Path(settings.key_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise InvalidArgument("key file", f"{settings.key_file} cannot be read: {reason}") from None
        return _good(text.partition("\n")[0].strip(), "the key file")
    return None


def _good(key: str, where: str) -> str:
    if len(key) < _LEAST_LENGTH:
        raise InvalidArgument(where, f"a key of {len(key)} characters is refused; use at least {_LEAST_LENGTH}")
    return key
