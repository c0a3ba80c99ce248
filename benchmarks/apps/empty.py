"""What uvicorn does with no work: the body is read, a fixed answer is sent."""

from typing import Any

BODY = b'{"predict_proba":[[0.97,0.02,0.01]]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def app(_scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
