"""Form bodies of web pages: fields of text that become one record. No framework's form parser takes part: bounded, and in one pass.

A browser posts forms across origins without asking first, so a form counts only from this host's own pages, from no page at all, or from an
origin that the operator named.
"""

from collections.abc import Collection, Mapping
from email.parser import BytesParser
from email.policy import HTTP
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from gateway.errors import Forbidden, InvalidRequest

URLENCODED: Final = b"application/x-www-form-urlencoded"
MULTIPART: Final = b"multipart/form-data"
TYPES: Final = frozenset({URLENCODED, MULTIPART})
MOST_BYTES: Final = 64 * 1024
MOST_FIELDS: Final = 1_000

_allowed: set[bytes] = set()


def allow_origins(origins: Collection[bytes]) -> None:
    """Called once in a process: the origins beside this host whose pages may post forms; ``*`` for all."""
    _allowed.clear()
    _allowed.update(origins)


def check_origin(headers: Mapping[bytes, bytes]) -> None:
    """
    Raises:
        Forbidden: a page of another origin posted the form.
    """
    origin = headers.get(b"origin")
    if origin is None or b"*" in _allowed or origin in _allowed:
        return
    try:
        host = urlsplit(origin).netloc.lower()
    except ValueError:  # an unfinished IPv6 address
        host = b""
    if not host or host != headers.get(b"host", b"").lower():
        raise Forbidden("a form of another origin is not taken: name the origin with --cors-origins, or send JSON")


def fields_of(body: bytes, content_type: bytes) -> tuple[list[tuple[str, str]], list[bytes]]:
    """The fields of a form in order, and the files in it.

    Raises:
        InvalidRequest: it is larger than a form is, or not one.
    """
    if len(body) > MOST_BYTES:
        raise InvalidRequest(f"a form may have {MOST_BYTES // 1024} kB; send larger data as JSON or text/csv")
    if content_type.split(b";", 1)[0].strip().lower() == URLENCODED:
        try:
            text = body.decode("utf-8")
            return parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"), []
        except (UnicodeDecodeError, ValueError) as error:
            reason = (
                "it is not UTF-8"
                if isinstance(error, UnicodeDecodeError)
                else f"it has more than {MOST_FIELDS:,} fields"
            )
            raise InvalidRequest(f"the form cannot be read: {reason}") from None
    return _multipart(body, content_type)


def _multipart(body: bytes, content_type: bytes) -> tuple[list[tuple[str, str]], list[bytes]]:
    parsed = BytesParser(policy=HTTP).parsebytes(b"content-type: " + content_type + b"\r\n\r\n" + body)
    parts = list(parsed.iter_parts()) if parsed.is_multipart() else []
    if not parts or len(parts) > MOST_FIELDS:
        reason = (
            f"it has more than {MOST_FIELDS:,} fields"
            if parts
            else "its parts are not divided by the boundary that its type names"
        )
        raise InvalidRequest(f"the form cannot be read: {reason}")
    fields: list[tuple[str, str]] = []
    files: list[bytes] = []
    for part in parts:
        content = part.get_payload(decode=True)
        data = content if isinstance(content, bytes) else b""
        if part.get_filename() is not None:
            files.append(data)
            continue
        name = part.get_param("name", header="content-disposition")
        try:
            fields.append((str(name), data.decode("utf-8")))
        except UnicodeDecodeError:
            raise InvalidRequest(f"the form's field {str(name)[:50]!r} is not UTF-8") from None
    return fields, files
