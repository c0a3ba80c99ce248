"""The one pattern for names, so that no name is ever a path, a header or a query.

Azure ML v1 allows ``[a-zA-Z0-9][a-zA-Z0-9\\-._]{0,254}`` for models and
``[a-zA-Z0-9][\\w\\-]{0,254}`` for experiments; both are narrowed here to ASCII and to names without ``..``.
"""

import re
from typing import Final

from registry.errors import InvalidName

MODEL_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9\-._]{0,254}")
EXPERIMENT_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_\-]{0,254}")
SERVICE_NAME: Final = re.compile(r"[a-z]([a-z0-9\-]{1,30}[a-z0-9])")


def check_name(kind: str, name: object, pattern: re.Pattern[str] = MODEL_NAME) -> str:
    """Return `name` if it is a good name for a `kind` ("model", "experiment", "environment", …).

    Raises:
        InvalidName: it is not text, has other characters, or holds ``..``.
    """
    if not isinstance(name, str) or not pattern.fullmatch(name) or ".." in name:
        raise InvalidName(kind, name, pattern.pattern)
    return name
