"""Broker: starts a `fitserve rpc` for whatever a run's script asks that it cannot do by itself. Runs in the launcher.

Its processes stand beside the script, not below it: they count nothing against the run's limits, what they start outlives the
run, and they may know what scripts are not told, such as the address of a database. They end when the script's end of the
connection does.
"""

import os
import socket
import subprocess
from pathlib import Path
from typing import Final

from registry.stores.disk import writing
from trainer.shim.azureml._fitserve.calls import SOCKET_NAME, short_name
from trainer.variables import RPC_COMMAND, RUN_OF_RPC

_WAITING: Final = 16  # connections that may wait to be accepted


class Broker:
    """Listens in the run's folder until it is closed; call `accept` when its `listening` socket can be read.

    Raises:
        DiskFull, WorkspaceReadOnly
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listening.setblocking(False)
        try:
            with writing(folder), short_name(str(folder)) as name:
                self.listening.bind(name)
        except BaseException:
            self.listening.close()
            raise
        self.listening.listen(_WAITING)

    def accept(self) -> None:
        """Give the next connection a process of its own."""
        try:
            connection, _ = self.listening.accept()
        except BlockingIOError:
            return
        connection.setblocking(True)
        with connection:
            self._processes = [process for process in self._processes if process.poll() is None]
            self._processes.append(
                subprocess.Popen(
                    RPC_COMMAND,
                    stdin=connection.fileno(),
                    stdout=connection.fileno(),
                    env={**os.environ, RUN_OF_RPC: str(self._folder)},
                    start_new_session=True,
                )
            )

    def close(self) -> None:
        """The script has ended, and with it its connections; a process that is busy ends by itself."""
        self.listening.close()
        (self._folder / SOCKET_NAME).unlink(missing_ok=True)
        for process in self._processes:
            process.poll()
