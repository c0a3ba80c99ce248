"""The same script behind Azure's inference server and behind a gateway: statuses, bodies and headers, with a table of what
differs on purpose. Run in an environment with azureml-inference-server-http; standard library else.

    python judge_azure.py GATEWAY_URL/models/script SCRIPT_FOLDER
"""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

JSON = {"Content-Type": "application/json"}
ROWS = {"data": [[1, 2], [3, 4]]}


def case(body, headers=JSON, method="POST", query=""):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {"data": None if method == "GET" else data, "headers": headers, "method": method, "query": query}


CASES = {
    "rows": case(ROWS),
    "extra keys": case({**ROWS, "more": 1}),
    "optional": case({**ROWS, "how": "none"}),
    "text": case({**ROWS, "how": "text"}),
    "header": case({**ROWS, "how": "header"}, {**JSON, "X-Colour": "green"}),
    "request id": case(ROWS, {**JSON, "x-request-id": "abc", "x-ms-client-request-id": "def"}),
    "long request id": case(ROWS, {**JSON, "x-request-id": "a" * 101}),
    "by query": case({}, {}, "GET", "?data=[[1,2]]"),
    "missing parameter": case({}),
    "empty body": case(b""),
    "no object": case([1]),
    "content type": case(ROWS, {"Content-Type": "text/plain"}),
    "charset": case(ROWS, {"Content-Type": "application/json; charset=utf-8"}),
    "run raises": case({**ROWS, "how": "raise"}),
    "no JSON given": case({**ROWS, "how": "set"}),
    "PUT": case(ROWS, JSON, "PUT"),
    "OPTIONS": case(b"", {}, "OPTIONS"),
    # what differs on purpose, below
    "bad JSON": case(b"{"),
    "wrong shape": case({"data": [[1, 2, 3]]}),
    "wrong type": case({"data": [["a", "b"]]}),
    "not a number": case({**ROWS, "how": "nan"}),
    "an array given": case({**ROWS, "how": "array"}),
}

#: case → why it differs; all others must agree in status, message or body, and the headers below.
INTENDED = {
    "wrong shape": "400 with the reason, where Azure says 500 and nothing",
    "wrong type": "400 with the reason, where Azure says 500 and nothing",
    "not a number": "null, where Azure sends NaN, which is no JSON",
    "an array given": "lists of numbers, where Azure says 500 and nothing",
}
#: Azure's text, ours: both start so.
PREFIX = {
    "bad JSON": "POST body could not be decoded as JSON",
}
HEADERS = ("x-ms-run-function-failed", "x-request-id", "x-ms-client-request-id", "x-ms-request-id")


def ask(url, asked):
    request = urllib.request.Request(
        url + "/score" + asked["query"], asked["data"], asked["headers"], method=asked["method"]
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def comparable(name, answer):
    status, body, headers = answer
    try:
        value = json.loads(body) if body else None
    except ValueError:
        value = body
    if name in PREFIX:
        message = value["message"]
        value = PREFIX[name] if message.startswith(PREFIX[name]) else message
    told = {}
    if name not in ("PUT", "long request id"):  # routing answers there before anything of Azure's server sees it
        told = {key: headers.get(key) for key in HEADERS}
        if name != "request id":  # new ones, each time
            told = {key: value if key == HEADERS[0] else value is not None for key, value in told.items()}
        told["timed"] = "x-ms-run-fn-exec-ms" in headers
    return status, value, told


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def main(gateway, folder):
    port = free_port()
    theirs = "http://127.0.0.1:%d" % port
    command = [sys.executable, "-m", "azureml_inference_server_http.amlserver", "--entry_script", "score.py"]
    server = subprocess.Popen(
        [*command, "--port", str(port)], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.time() + 60
        while True:
            try:
                ask(theirs, CASES["rows"])
                break
            except OSError:
                assert server.poll() is None and time.time() < deadline, "Azure's server did not start"
                time.sleep(0.1)
        wrong = 0
        for name, asked in CASES.items():
            azure, ours = comparable(name, ask(theirs, asked)), comparable(name, ask(gateway, asked))
            same = azure == ours or str(azure) == str(ours)
            verdict = "same" if same else "differs on purpose: " + INTENDED[name] if name in INTENDED else "DIFFERS"
            if verdict == "DIFFERS" or (same and name in INTENDED):
                wrong += 1
                verdict += "\n    azure: %r\n    ours:  %r" % (azure, ours)
            print("  %-18s %s" % (name, verdict))
        return wrong
    finally:
        server.terminate()
        server.wait(30)


sys.exit(1 if main(sys.argv[1], sys.argv[2]) else 0)
