"""Every value that reaches a Dockerfile or a manifest passes one of these first, whatever checked it earlier.

All are matched as a whole and in ASCII, so that none lets a line break, a quote or a blank through.
"""

import re
from typing import Final

from gateway.package.errors import UnsafeValue
from registry.names import MODEL_NAME, SERVICE_NAME

_HOST: Final = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?"
_PATH: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"

PATTERNS: Final[dict[str, tuple[re.Pattern[str], str]]] = {
    "a model": (re.compile(rf"{MODEL_NAME.pattern}:[1-9][0-9]{{0,8}}"), "NAME:VERSION"),
    "a service": (SERVICE_NAME, "3 to 32 lower-case letters, digits and hyphens, the first a letter"),
    "an image": (
        re.compile(
            rf"(?:{_HOST}/)?{_PATH}(?:/{_PATH})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"
        ),
        "a reference such as registry.example.com/team/iris:1.0",
    ),
    "a name in Kubernetes": (
        re.compile(r"[a-z](?:[a-z0-9-]{0,51}[a-z0-9])?"),
        "at most 53 lower-case letters, digits and hyphens, the first a letter, the last no hyphen",
    ),
    "a pinned requirement": (
        re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?==[0-9][A-Za-z0-9.!+_-]*"),
        "NAME==VERSION",
    ),
    "a Python": (re.compile(r"[23]\.[0-9]{1,2}(?:\.[0-9]{1,3})?"), "a version such as 3.11"),
    "a digest": (re.compile(r"[0-9a-f]{64}"), "64 hexadecimal digits"),
    "a version of fitserve": (re.compile(r"[0-9][A-Za-z0-9.+_-]{0,63}"), "a version such as 0.1.0"),
    "a quantity": (re.compile(r"[0-9]{1,9}(?:m|Mi)?"), "a quantity such as 500m or 512Mi"),
}


def checked(what: str, value: object) -> str:
    """`value`, if it matches the pattern of that name.

    Raises:
        UnsafeValue: it does not, or is no text.
    """
    pattern, expected = PATTERNS[what]
    if not isinstance(value, str) or not value.isascii() or not pattern.fullmatch(value):
        raise UnsafeValue(what, value, expected)
    return value
