"""`fitserve healthcheck`: what a container asks every few seconds, so it must stay light."""

import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.main import COMMANDS
from gateway.rundir.healthcheck import problem

ROOT = Path(__file__).parents[3]
HEAVY = {"sqlalchemy", "numpy", "httpx", "sklearn", "pandas", "starlette", "uvicorn", "trainer", "alembic"}


class Answers(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        state = {"host": "0.0.0.0", "port": server.server_address[1]}
        (tmp_path / "gateway.json").write_text(json.dumps(state))
        yield tmp_path
        server.shutdown()


@pytest.mark.parametrize(("status", "said"), [(200, None), (503, "it answered 503")])
def test_the_answer_of_healthz_counts(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, status: int, said: str | None
) -> None:
    monkeypatch.setattr(Answers, "status", status)
    assert problem(workspace) == said


@pytest.mark.parametrize(
    "state", ["", "[]", "{}", '{"host": "127.0.0.1", "port": "x"}', '{"host": "127.0.0.1", "port": 1}']
)
def test_what_cannot_be_asked_is_not_healthy(tmp_path: Path, state: str) -> None:
    assert problem(tmp_path) == f"no gateway serves {tmp_path}"
    (tmp_path / "gateway.json").write_text(state)
    assert str(problem(tmp_path)).startswith("no answer: ")


def test_it_imports_nothing_heavy(workspace: Path) -> None:
    program = (
        "import sys\nfrom gateway.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    code = end.code\n"
        "print(code, *sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    command = [sys.executable, "-c", program, "--workspace", str(workspace), "healthcheck"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
    answer, modules = done.stdout.splitlines()
    assert answer == "healthy"
    assert modules.split()[0] == "0"
    assert HEAVY & set(modules.split()) == set()


def test_the_image_asks_with_a_command_that_exists() -> None:
    asked = re.search(r"HEALTHCHECK .*CMD (\[.*\])", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert asked is not None
    program, command = json.loads(asked[1])
    assert (program, command in COMMANDS) == ("fitserve", True)
