"""One HTTP request to a gateway of this machine, with the standard library: httpx takes longer to import than to answer."""

import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit

from gateway.client.errors import GatewaySilent


def ask(
    url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout_s: float = 30
) -> tuple[int, bytes]:
    """Status and body of the answer to a GET, or with a body to a POST. No proxy is asked, whatever the environment says.

    Raises:
        GatewaySilent: nothing answers there.
    """
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET" if body is None else "POST", path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise GatewaySilent(url, str(error) or type(error).__name__) from None
    finally:
        connection.close()
