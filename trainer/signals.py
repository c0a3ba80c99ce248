"""Signal handling of a launcher."""

import signal
import socket
from types import FrameType


class Signals:
    """Handlers only set `stop_requested` and write to a socket that wakes the loop. One instance per process, main thread only."""

    def __init__(self) -> None:
        self.stop_requested = False
        self.wake, self._write = socket.socketpair()
        self.wake.setblocking(False)
        self._write.setblocking(False)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.stop_requested = True
