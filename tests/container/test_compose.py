"""The gateway of compose.yaml, twice, with its own environment, mounts and flags, on a PostgreSQL that is really there."""

import secrets
import socket
import time
from pathlib import Path

import httpx
import yaml

from tests.container.engine import Container, engine, running
from tests.e2e.models import SETOSA, iris_svc
from tests.postgres import postgres
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
KEY = "0123456789abcdef"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_two_gateways_of_compose_see_what_either_registers(image: str, tmp_path: Path) -> None:
    gateway = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["gateway"]
    assert gateway["image"] == image
    model = iris_svc(tmp_path)
    tmp_path.chmod(0o755)
    volume = f"fitserve-test-{secrets.token_hex(4)}"
    with postgres(port=free_port()) as url:
        variables = gateway["environment"] | {"FITSERVE_KEY": KEY, "FITSERVE_WORKSPACE": url}
        flags = [
            "--network",
            "host",
            "-v",
            f"{tmp_path}:/models:ro",
            "--read-only",
            *(f"--tmpfs={t}" for t in gateway["tmpfs"]),
        ]
        flags += [f"--cap-drop={name}" for name in gateway["cap_drop"]]
        for mount in gateway["volumes"]:
            flags += ["-v", f"{volume}:{mount.partition(':')[2]}"]
        for name, value in variables.items():
            flags += ["-e", f"{name}={value}"]
        ports = [free_port(), free_port()]
        try:
            with (
                running(image, flags=[*flags, "-e", f"FITSERVE_PORT={ports[0]}"], publish=False) as one,
                running(image, flags=[*flags, "-e", f"FITSERVE_PORT={ports[1]}"], publish=False) as two,
            ):
                for container, port in ((one, ports[0]), (two, ports[1])):
                    started(container, port)
                one.exec("fitserve", "register", f"/models/{model.name}", "--name", "iris")
                registered = time.monotonic()
                eventually(lambda: status(ports[1]), lambda code: code == 200)
                seen = time.monotonic() - registered
                for port in ports:
                    answer = eventually(lambda port=port: score(port), lambda a: a.status_code == 200)  # type: ignore[misc]
                    assert answer.json() == {"predict": [0]}
                print(f"\nseen by the other gateway {seen:.2f} s after the command ended")
                assert [container.stop(30)[1] for container in (one, two)] == [0, 0]
        finally:
            engine("volume", "rm", "-f", volume)


def started(container: Container, port: int) -> None:
    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    eventually(answers, what=container.log, timeout=120)


def status(port: int) -> int:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.get(f"http://127.0.0.1:{port}/models/iris", headers=headers, timeout=5, trust_env=False).status_code


def score(port: int) -> httpx.Response:
    headers = {"authorization": f"Bearer {KEY}"}
    url = f"http://127.0.0.1:{port}/models/iris/score"
    return httpx.post(url, json={"data": [SETOSA]}, headers=headers, timeout=60, trust_env=False)
