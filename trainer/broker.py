"""Broker: starts a `fitserve rpc` process for each connection of a run's script. Runs in the launcher.

These processes are siblings of the script, not its children: they do not count against the run's limits, what they start
outlives the run, and they may know what scripts must not, such as the address of a database. Each ends when the script
closes its connection.
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
        """Accept one connection and start a process for it."""
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
        """Stop listening. The script's connections are closed by now; a process that is still busy ends by itself."""
        self.listening.close()
        (self._folder / SOCKET_NAME).unlink(missing_ok=True)
        for process in self._processes:
            process.poll()
