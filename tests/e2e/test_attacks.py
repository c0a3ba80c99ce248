"""A hostile client, and hostile names: what may not be opened, unpickled, told, kept in memory or waited for.

Supervisor, HTTP process and commands run with an audit hook that notes each file they open, each class they unpickle and each program they start.
"""

import contextlib
import gzip
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.auth.guard import PUBLIC_PATHS
from registry import Model, Workspace
from tests.e2e.gateway import ENVIRONMENT, Gateway, fitserve, serving
from tests.e2e.models import SETOSA, code_model, iris_svc
from tests.waiting import eventually

HOOK = """
import os, sys
_out = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_kind = "http" if "gateway.http.process" in sys.orig_argv else "other"
def _hook(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)):
        what = os.fsdecode(args[0])
    elif event == "pickle.find_class":
        what = "%s.%s" % args
    elif event in ("os.system", "subprocess.Popen", "os.exec", "os.listdir", "os.scandir"):
        what = repr(args[0])
    else:
        return
    os.write(_out, ("%s\\t%s\\t%s\\n" % (_kind, event, what.replace("\\n", " "))).encode("utf-8", "surrogateescape"))
sys.addaudithook(_hook)
"""
#: Everything that was ever a path traversal somewhere. As they stand in a request line, so nothing is normalised.
NAMES = (
    "..", "../canary", "../../canary", "..%2fcanary", "%2e%2e%2fcanary", "%2e%2e/canary", "%252e%252e%252fcanary", "..%5ccanary",
    "..\\canary", "....//canary", "canary%00", "iris%00.joblib", "%00", "file:canary", "file:%2f%2f%2fetc%2fpasswd", "/etc/passwd",
    "%2fetc%2fpasswd", "iris#canary", "iris%23canary", "iris%3fcanary", "iris;canary", "%c0%ae%c0%ae%c0%afcanary", "%ef%bc%8e%ef%bc%8e%ef%bc%8fcanary",
    "%e2%80%a5%2fcanary", "~", "~root", "$HOME", "${HOME}", "`id`", "%0d%0aset-cookie:x", "%20", ".", "-rf", "con", "a" * 300, "%ff%fe",
)  # fmt: skip
PATHS = (
    "/models/{}/score", "/models/{}", "/models/{}/swagger.json", "/models/iris/versions/{}/score", "/models/iris/versions/{}",
    "/models/iris/{}", "/api/v1/service/{}/score", "/v2/models/{}/infer", "/v2/models/{}", "/v1/models/{}:predict", "/{}",
)  # fmt: skip
SAYS_TOO_MUCH = re.compile(
    r"Traceback|\.py\b|\.sock\b|File \"|/tmp/|/proc/|/home/|/root/|pytest-|\bpid\b|0x[0-9a-f]{6,}", re.IGNORECASE
)
TALKATIVE = """\
what = X[0, 0]
if what == 1:
    raise RuntimeError("secret in /tmp/private/model.bin")
if what == 2:
    raise ValueError("cannot read /tmp/private/table.csv")
if what == 3:
    raise FileNotFoundError("/tmp/private/file")
if what == 4:
    raise SystemExit("/tmp/private")
return np.zeros(len(X))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attacks")
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(HOOK)
    for place in (folder, folder.parent):
        (place / "canary").write_text("a file outside of the workspace")
    return folder


@pytest.fixture(scope="module")
def audited(folder: Path) -> dict[str, str]:
    """Variables that have a Python of ours write the audit log."""
    return {"PYTHONPATH": str(folder / "hook"), "AUDIT_LOG": str(folder / "audit.log")}


@pytest.fixture(scope="module")
def gateway(folder: Path, audited: dict[str, str]) -> Iterator[Gateway]:
    secrets = {"FITSERVE_KEY": "k" * 43, "AWS_SECRET_ACCESS_KEY": "canary-secret", "DATABASE_URL": "canary-secret"}
    headers = {"Authorization": f"Bearer {'k' * 43}"}
    with serving(
        folder / "ws", "--host", "0.0.0.0", "--body-timeout-s", "1", env={**audited, **secrets}, headers=headers
    ) as gateway:
        talkative, code = code_model(folder, TALKATIVE, name="talkative")
        sample = folder / "sample.json"
        sample.write_text(json.dumps([SETOSA]))
        with Workspace.open(gateway.workspace) as workspace:
            Model.register(workspace, str(iris_svc(folder)), "iris", sample=sample, show_output=False)
            Model.register(workspace, str(talkative), "talkative", code=str(code), show_output=False)
        gateway.wait_for("iris")
        gateway.wait_for("talkative")
        yield gateway


def audit(audited: dict[str, str]) -> list[tuple[str, str, str]]:
    lines = Path(audited["AUDIT_LOG"]).read_text(errors="replace").splitlines()
    return [(kind, event, what) for kind, event, what in (line.split("\t", 2) for line in lines)]


def connect(gateway: Gateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.http.base_url.port or 0), timeout=20)


def read_all(sock: socket.socket) -> bytes:
    """Until the other end closes."""
    parts = []
    try:
        while part := sock.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def head(path: str, *headers: str, verb: str = "POST") -> bytes:
    lines = [f"{verb} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {'k' * 43}", *headers]
    if verb == "POST":
        lines.append("Content-Type: application/json")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def talk(gateway: Gateway, data: bytes) -> bytes:
    with connect(gateway) as sock:
        sock.sendall(data)
        return read_all(sock)


def answers_well(gateway: Gateway) -> None:
    answer = gateway.score("iris", [SETOSA])
    assert (answer.status_code, answer.json()) == (200, {"predict": [0]})


def resident_mb(gateway: Gateway) -> float:
    (pid,) = http_processes(gateway)
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


def http_processes(gateway: Gateway) -> list[int]:
    return [pid for pid in below(gateway) if b"gateway.http.process" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def below(gateway: Gateway) -> list[int]:
    tasks = Path(f"/proc/{gateway.process.pid}/task").glob("*/children")
    return [int(pid) for path in tasks for pid in path.read_text().split()]


@pytest.mark.parametrize("path", PATHS)
def test_no_name_in_a_url_reaches_a_file(gateway: Gateway, folder: Path, audited: dict[str, str], path: str) -> None:
    """R5, R6."""
    seen = len(audit(audited))
    body = json.dumps({"data": [SETOSA]}).encode()
    for name in NAMES:
        for verb, content in (("GET", b""), ("POST", body)):
            sent = head(path.format(name), f"Content-Length: {len(content)}", "Connection: close", verb=verb) + content
            answer = talk(gateway, sent)
            status = int(answer[9:12])
            harmless = status == 200 and (
                name in {".", "%20"} or "#" in name or path.format(name) in {"/models/iris/ready"}
            )
            assert 400 <= status < 500 or harmless, (verb, path.format(name), answer[:300])
            assert b"a file outside" not in answer
            assert b"\r\nset-cookie" not in answer.lower()
            assert not SAYS_TOO_MUCH.search(
                answer.partition(b"\r\n\r\n")[2].decode("utf-8", "replace").replace(name, "")
            ), answer
    for _, event, what in audit(audited)[seen:]:
        assert "canary" not in what, (event, what)
        assert not what.startswith("/etc/passwd"), (event, what)
        assert event not in {"os.system", "os.exec", "subprocess.Popen"}, what


def test_no_field_of_a_body_is_a_path(gateway: Gateway, folder: Path, audited: dict[str, str]) -> None:
    """R5."""
    seen = len(audit(audited))
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": SETOSA}
    for what in (str(folder / "canary"), (folder / "canary").as_uri(), "../canary", "..\\canary"):
        evil = dict.fromkeys(
            ("path", "file", "url", "uri", "source", "model_path", "artifact", "entry_script", "config"), what
        )
        for path, body in (
            ("/models/iris/score", {"data": [SETOSA], **evil}),
            ("/models/iris/score", {"data": what}),
            ("/models/iris/score", {"data": [what]}),
            ("/models/iris/score", {"data": [SETOSA], "method": what}),
            ("/v2/models/iris/infer", {"inputs": [{**tensor, **evil}], "id": what, "parameters": evil}),
            ("/v2/models/iris/infer", {"inputs": [{**tensor, "name": what}], "outputs": [{"name": what}]}),
            ("/v2/repository/index", evil),
            ("/v2/repository/models/iris/load", {"parameters": evil | {"file:1/model.joblib": what}}),
            ("/v1/models/iris:predict", {"instances": [SETOSA], **evil}),
            ("/models/iris/invocations", {"inputs": [SETOSA], "params": evil}),
        ):
            answer = gateway.http.post(path, json=body)
            assert answer.status_code < 500, (path, body, answer.text)
            assert "a file outside" not in answer.text
    for _, event, opened in audit(audited)[seen:]:
        assert "canary" not in opened, (event, opened)


def test_no_name_on_the_command_line_reaches_a_file(gateway: Gateway, folder: Path, audited: dict[str, str]) -> None:
    """R5, R6."""
    model = str(iris_svc(folder / "cli"))
    names = [name for name in NAMES if "%00" not in name] + ["iris/../../canary", "\u2025/canary", "a\nb"]
    program = f"""
import contextlib, io, json, sys
from gateway.cli.main import main
import gateway.cli.models, gateway.cli.score, gateway.cli.logs, registry.model, sqlalchemy.dialects.sqlite
codes = []
print("begin", file=open({str(folder / "began")!r}, "w"))
for name in json.loads(sys.stdin.read()):
    for arguments in (["register", {model!r}, "--name", name], ["models", "--", name], ["delete", "--yes", "--", name], ["logs", "--", name],
                      ["score", "--", name, "[[1,2,3,4]]"], ["runs", "--", name]):
        with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
            try:
                main(["--workspace", {str(gateway.workspace)!r}, *arguments])
            except SystemExit as end:
                codes.append((arguments[0], name, end.code, said.getvalue()))
print(json.dumps(codes))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(names), capture_output=True, text=True, timeout=100,
        env={**ENVIRONMENT, **audited}, cwd=folder, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    fine = {("register", "con"), ("models", "con"), ("logs", "con"), ("score", "con"), ("delete", "con")}
    for command, name, code, said in json.loads(done.stdout):
        if (command, name) not in fine:
            assert code not in {0, None}, (command, name, said)
            assert "Traceback" not in said, (command, name, said)
    opened = [(event, what) for kind, event, what in audit(audited) if kind == "other"]
    begun = max(number for number, (_, what) in enumerate(opened) if what == str(folder / "began"))
    for event, what in opened[begun + 1 :]:
        assert "canary" not in what, (event, what)
        assert not what.startswith(("/etc/passwd", "/root/.ssh")), (event, what)
        assert event not in {"os.system", "os.exec"}, what


def test_neither_the_supervisor_nor_the_http_process_nor_a_command_unpickles(
    gateway: Gateway, audited: dict[str, str]
) -> None:
    """R10."""
    answers_well(gateway)
    assert gateway.http.get("/models/iris").json()["schema"]
    assert fitserve("models", "iris", workspace=gateway.workspace, env=audited).returncode == 0
    events = audit(audited)
    assert {kind for kind, _, _ in events} == {"http", "other"}  # the hook works in both
    assert [what for _, event, what in events if event == "pickle.find_class"] == []


def test_children_see_no_secret(gateway: Gateway) -> None:
    """R10."""
    pids = [*below(gateway), *gateway.status("iris")["pids"]]
    children = [pid for pid in pids if pid not in http_processes(gateway)]
    assert len(children) >= 3
    for pid in children:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"k" * 43 not in environment
        assert b"canary-secret" not in environment
        assert b"FITSERVE" not in environment
    for pid in http_processes(gateway):
        assert b"k" * 43 not in Path(f"/proc/{pid}/environ").read_bytes()
        assert b"k" * 43 not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_every_path_asks_for_a_key_but_the_probes(gateway: Gateway) -> None:
    """R4."""
    document = gateway.http.get("/openapi.json").json()
    paths = {re.sub(r"\{[^}]+\}", "iris", path) for path in document["paths"]} | {path.format("iris") for path in PATHS}
    assert len(paths) > 20
    with httpx.Client(base_url=str(gateway.url), trust_env=False) as stranger:
        for path in sorted(paths - PUBLIC_PATHS):
            for verb in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"):
                answer = stranger.request(verb, path)
                assert answer.status_code == 401, (verb, path, answer.status_code)
        for path in PUBLIC_PATHS:
            assert stranger.get(path).status_code == 200, path
        for key in (
            "Bearer",
            "Basic " + "k" * 43,
            "Bearer " + "k" * 42,
            "bearer " + "k" * 44,
            "Bearer \xe9",
        ):
            answer = stranger.get("/models", headers=[(b"authorization", key.encode("latin-1"))])
            assert answer.status_code == 401, key
        stranger.cookies.set("key", "k" * 43)
        assert stranger.get("/models", params={"key": "k" * 43}).status_code == 401


def test_nothing_is_bound_but_loopback_by_default(tmp_path: Path) -> None:
    """R1."""
    with serving(tmp_path / "ws") as gateway:
        port = gateway.http.base_url.port
        tables = Path("/proc/net/tcp").read_text() + (
            Path("/proc/net/tcp6").read_text() if Path("/proc/net/tcp6").exists() else ""
        )
        bound = re.findall(rf"\d+: ([0-9A-F]+):{port:04X} \S+ 0A ", tables)
        assert bound == ["0100007F"]


@pytest.mark.parametrize("value", [1.0, 2.0, 3.0, 4.0])
def test_an_error_of_the_model_tells_nothing_of_the_machine(gateway: Gateway, value: float) -> None:
    """R16."""
    answer = gateway.score("talkative", [[value, 0, 0, 0]])
    assert 400 <= answer.status_code < 600
    assert "private" not in answer.text
    assert not SAYS_TOO_MUCH.search(answer.text), answer.text


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x00\x01\x02\r\n\r\n", id="noise"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200, id="TLS"),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", id="version"),
        pytest.param(b"GET\r\n\r\n", id="no path"),
        pytest.param(head("/models/iris/score", "Content-Length: 5", "Content-Length: 7") + b"12345", id="two lengths"),
        pytest.param(head("/models/iris/score", "Content-Length: -1"), id="negative length"),
        pytest.param(head("/models/iris/score", "Content-Length: +5") + b"12345", id="plus"),
        pytest.param(head("/models/iris/score", "Content-Length: 99999999999999999999999"), id="huge length"),
        pytest.param(head("/models/iris/score", "Content-Length: 9000000000"), id="9 GB"),
        pytest.param(
            head("/models/iris/score", "Content-Length: 4", "Transfer-Encoding: chunked") + b"0\r\n\r\nGET /models HTTP/1.1\r\n\r\n",
            id="smuggled",
        ),
        pytest.param(head("/models/iris/score", "Transfer-Encoding: chunked") + b"zz\r\nabc\r\n", id="chunk not a number"),
        pytest.param(head("/models/iris/score", "Transfer-Encoding: chunked") + b"-5\r\nabc\r\n", id="negative chunk"),
        pytest.param(head("/models/iris/score", "Transfer-Encoding: chunked") + b"FFFFFFFFFFFFFFFFF\r\nabc", id="huge chunk"),
        pytest.param(head("/models/iris/score", "Transfer-Encoding: chunked") + b"2\r\nabcdef\r\n0\r\n\r\n", id="chunk too long"),
        pytest.param(head("/models/iris/score", "Transfer-Encoding: gzip, what") + b"abc", id="unknown encoding"),
        pytest.param(head("/models/iris/score", "A\x00B: 1"), id="NUL in a header"),
        pytest.param(head("/models/iris/score", " folded: 1"), id="folded"),
        pytest.param(head("/models/iris/score", "Content-Length: 100") + b"{", id="half a body"),
        pytest.param(head("/models/iris/score?x=1", "Content-Length: 100") + b"{", id="half a body with a query"),
        pytest.param(head("/v2/models/iris/infer", "Content-Length: 100") + b"{", id="half a body of another dialect"),
        pytest.param(b"POST /models/iris/score HTTP/1.1\r\nHost: x\r\nX-Slow: ", id="half a head"),
        pytest.param(b"PO", id="half a verb"),
        pytest.param(b"", id="nothing"),
    ],
)  # fmt: skip
def test_broken_and_slow_requests_are_ended_in_time_and_hurt_nobody(gateway: Gateway, sent: bytes) -> None:
    begun = time.monotonic()
    with connect(gateway) as sock:
        sock.sendall(sent)
        answers_well(gateway)
        answer = read_all(sock) if sent else b""
    assert time.monotonic() - begun < 6  # its time is 1 s
    assert not answer or 400 <= int(answer[9:12]) < 500, answer
    assert not SAYS_TOO_MUCH.search(answer.decode("latin-1")), answer
    assert answer.count(b"HTTP/1.1 ") <= 1, answer  # what was smuggled is not answered


def test_a_sender_that_trickles_gets_no_more_time(gateway: Gateway) -> None:
    """R12."""
    for start in (b"POST /models/iris/score HTTP/1.1\r\n", head("/models/iris/score", "Content-Length: 1000")):
        begun = time.monotonic()
        with connect(gateway) as sock:
            sock.sendall(start)
            with contextlib.suppress(ConnectionError):
                while time.monotonic() - begun < 10:
                    sock.sendall(b"a")
                    time.sleep(0.05)  # the pace of the attack
        assert time.monotonic() - begun < 6


@pytest.mark.parametrize("name", ["one long", "many"])
def test_endless_headers_are_refused_before_they_fill_the_memory(gateway: Gateway, name: str) -> None:
    before = resident_mb(gateway)
    sent = 0
    with connect(gateway) as sock:
        sock.sendall(b"POST /models/iris/score HTTP/1.1\r\nHost: x\r\n" + (b"X-Long: " if name == "one long" else b""))
        try:
            while sent < 60_000_000:
                part = (
                    b"a" * 65536
                    if name == "one long"
                    else b"".join(b"X-%d: %b\r\n" % (sent + i, b"v" * 50) for i in range(1000))
                )
                sock.sendall(part)
                sent += len(part)
        except OSError:
            pass
    assert sent < 10_000_000
    assert resident_mb(gateway) - before < 20
    answers_well(gateway)


def test_a_gzip_bomb_is_refused_and_its_memory_given_back(gateway: Gateway) -> None:
    """R12."""
    before = resident_mb(gateway)
    bomb = gzip.compress(b"[" + b"0," * 150_000_000, 1)
    assert len(bomb) < 2_000_000
    for _ in range(3):
        answer = gateway.http.post("/models/iris/score", content=bomb, headers={"Content-Encoding": "gzip"})
        assert answer.status_code == 413
    assert resident_mb(gateway) - before < 150
    answers_well(gateway)


@pytest.mark.parametrize(
    "body",
    [b"[" * 200_000, b'{"data":' * 50_000, b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"1" * 5_000_000],
)
def test_deep_json_is_a_400(gateway: Gateway, body: bytes) -> None:
    answer = gateway.http.post("/models/iris/score", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text[:300]
    assert len(answer.text) < 2000
    answers_well(gateway)


def test_pipelined_requests_are_answered_in_order(gateway: Gateway) -> None:
    rows = [SETOSA, [6.7, 3.0, 5.6, 2.3]] * 20
    sent, expected = b"", []
    for number, row in enumerate(rows):
        body = json.dumps({"data": [row]}).encode()
        path = "/models/iris/score" + ("?a=b" if number % 5 == 0 else "")  # the ordinary way among the short cuts
        sent += head(path, f"Content-Length: {len(body)}", f"x-request-id: r{number}") + body
        expected.append(f"r{number}")
    sent += head("/healthz", "Connection: close", verb="GET")
    answer = talk(gateway, sent)
    assert re.findall(rb'\{"predict":\[(\d)\]\}', answer) == [b"0", b"2"] * 20
    assert re.findall(rb"\r\nx-request-id: (r\d+)", answer) == [name.encode() for name in expected]
    assert answer.endswith(b'{"status":"ok"}')


def test_callers_that_hang_up_cost_nothing(gateway: Gateway) -> None:
    body = json.dumps({"data": [SETOSA]}).encode()
    sent = head("/models/iris/score", f"Content-Length: {len(body)}") + body
    for number in range(300):
        sock = connect(gateway)
        sock.sendall(sent)
        if number % 3 == 0:
            sock.shutdown(socket.SHUT_WR)
        if number % 3 == 1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset instead of a goodbye
        sock.close()
    answers_well(gateway)
    (pid,) = http_processes(gateway)
    eventually(
        lambda: len(os.listdir(f"/proc/{pid}/fd")), lambda count: count < 100, what="the end of their connections"
    )


def test_idle_connections_do_not_keep_others_out(gateway: Gateway) -> None:
    before = resident_mb(gateway)
    connections = []
    try:
        for _ in range(800):
            connections.append(connect(gateway))
        answers_well(gateway)
        assert resident_mb(gateway) - before < 50
        (pid,) = http_processes(gateway)
        # They never sent a request, so they get no more time than one that is slow to.
        eventually(lambda: len(os.listdir(f"/proc/{pid}/fd")), lambda count: count < 100, "their end")
    finally:
        for connection in connections:
            connection.close()
