"""Whether a gateway answers: what `fitserve healthcheck` asks, every few seconds in a container.

It reads the port from the workspace's ``gateway.json`` and imports nothing but parts of the standard library.
"""

import http.client
import json
from pathlib import Path
from typing import Final

_TIMEOUT_S: Final = 4.0


def problem(folder: Path) -> str | None:
    """Why the gateway that serves the workspace in `folder` is not healthy; None when it is."""
    try:
        state = json.loads((folder / "gateway.json").read_text(encoding="utf-8"))
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(state["host"], state["host"])  # noqa: S104 compared, not bound
        connection = http.client.HTTPConnection(host, int(state["port"]), timeout=_TIMEOUT_S)
        try:
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
        finally:
            connection.close()
    except FileNotFoundError:
        return f"no gateway serves {folder}"
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        return f"no answer: {error}"
    return None if status == 200 else f"it answered {status}"
