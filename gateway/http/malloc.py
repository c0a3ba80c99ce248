"""How a process that handles large bodies gets its memory: seldom, and a little at a time.

Pages that went back to the system cost about a microsecond each to get again, and a huge page, which numpy asks for, is cleared in
one go: up to 5 ms in a virtual machine.
"""

import ctypes
import sys
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGEST: Final = 32 << 20  # of one piece: glibc takes no more
_KEPT: Final = 32 << 20
_PR_SET_THP_DISABLE: Final = 41


def keep_freed_memory() -> None:
    """Let malloc keep up to 32 MB for the next large body, in pieces of up to 32 MB. Nothing happens where the C library is not glibc."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _LARGEST)
            mallopt(_M_TRIM_THRESHOLD, _KEPT)


def refuse_huge_pages() -> None:
    """For this process and those it starts."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
