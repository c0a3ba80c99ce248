"""What of other people's sentences may leave the house."""

import re
from typing import Final

_PATH: Final = re.compile(r"(?<![\w.:/])/[\w.+-]+(?:/[\w.+-]*)+")


def without_paths(sentence: str) -> str:
    """A model's or a loader's own words may name files of this machine. URLs stay."""
    return _PATH.sub("…", sentence)
