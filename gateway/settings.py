"""One frozen `Settings` with every option of the gateway; the CLI options and the table in the docs are made from it.

Precedence of values: a command-line flag, ``FITSERVE_<NAME>`` in the environment, ``settings.toml`` in the workspace,
the default below.
"""

import difflib
import ipaddress
import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar, cast, get_args

from registry.errors import InvalidArgument

Start = Literal["ahead", "first-use"]
Swap = Literal["together", "stop-first"]


#: Variables beside those of the options.
OTHER_VARIABLES: Final = frozenset(
    f"FITSERVE_{name}"
    for name in [
        "ARTIFACTS",
        "CONDA",
        "DEBUG",
        "KEY",
        "LIMITS",
        "PYTHON_DOWNLOADS",
        "RPC",
        "RUN_DIR",
        "RUN_OF_RPC",
        "SCOPE",
        "SNAPSHOT_MAX_FILES",
        "SNAPSHOT_MAX_MB",
        "STRICT_PYTHON",
        "USER_PYTHONPATH",
        "WORKSPACE",
        "WORKSPACE_FOLDER",
        *("IMAGE", "MEMORY", "PORTS"),  # of compose.yaml
        *("BENCHMARK", "BENCHMARKS"),  # of our own benchmarks
    ]
)
_SERVICE_LINK: Final = re.compile(r"(?:^|_)SERVICE_(?:HOST|PORT(?:_\w+)?)$|(?:^|_)PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?$")
_LINKED: Final = re.compile(r"(?:tcp|udp|sctp)://")

T = TypeVar("T")


def _option(default: T, help: str, *, choices: tuple[str, ...] = (), least: float | None = None) -> T:
    return field(default=default, metadata={"help": help, "choices": choices, "least": least})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options of a gateway. Times in seconds unless the name says ms; sizes in MB (10**6 bytes) or GB (2**30)."""

    host: str = _option("127.0.0.1", "address to listen on; addresses other than loopback require a key")
    port: int = _option(8080, "port to listen on; 0 takes a free one", least=0)
    http_processes: int = _option(1, "HTTP processes that share the port", least=1)
    no_auth: bool = _option(False, "serve other addresses than loopback without a key")
    require_key: bool = _option(False, "require a key on loopback too")
    key_file: str = _option("", "file that holds the bearer key (one line)")
    allowed_hosts: str = _option(
        "",
        "further host names accepted for status requests without a key, separated by commas; * for all",
    )

    body_limit_mb: float = _option(64.0, "largest request body", least=0.001)
    body_timeout_s: float = _option(
        30.0, "longest time for a client to send a body, or to read nothing of an answer", least=0.1
    )
    request_timeout_ms: float = _option(60_000.0, "deadline of a request that sets none", least=1)
    queue_requests: int = _option(4096, "requests of one model that may wait; more get 429", least=1)
    queue_mb: float = _option(256.0, "bytes of one model's requests that may wait; more get 429", least=0.001)
    batch_rows: int = _option(1024, "most rows of one batch", least=1)
    batch_mb: float = _option(4.0, "most bytes of one batch", least=0.001)
    max_compute_s: float = _option(60.0, "longest time for one computation before the child is replaced", least=0.01)
    answer_limit_mb: float = _option(256.0, "largest answer accepted from a model, as arrays", least=0.001)
    dense_limit_mb: float = _option(50.0, "largest sparse answer that is converted to dense", least=0.001)

    start: Start = _option("ahead", "start a model when it is registered or at its first use", choices=get_args(Start))
    start_timeout_s: float = _option(60.0, "longest time for loading a model, plus 10 s for each GB of it", least=1)
    idle_s: float = _option(600.0, "stop superseded versions after this many seconds without requests", least=1)
    swap: Swap = _option(
        "together", "a new version starts beside the old one, or after it was stopped", choices=get_args(Swap)
    )
    systemd_scope: bool = _option(True, "ask systemd for a control group if the current one is not delegated")
    model_tasks: int = _option(1024, "processes and threads that one version may have at once", least=8)
    reserve_gb: float = _option(0.5, "memory of the machine that is kept from models; at most half of it", least=0)
    drain_s: float = _option(20.0, "longest time to finish accepted requests when stopping or swapping", least=0)
    quarantine_after: int = _option(
        5, "stop restarting a version after this many deaths in a row without an answer", least=1
    )

    access_log: bool = _option(False, "log one line for each scoring request")
    log_level: str = _option("info", "lowest level of the log", choices=("debug", "info", "warning", "error"))
    cors_origins: str = _option("", "origins allowed to call from a browser, separated by commas; * allows all")
    nonfinite: str = _option("null", "how NaN and infinity are written in JSON answers", choices=("null", "string"))

    def __post_init__(self) -> None:
        for option in fields(self):
            _check(option, getattr(self, option.name), option.name)
        if self.port > 65535:
            raise InvalidArgument("port", f"{self.port} is not a port: 0 to 65535")

    @classmethod
    def load(
        cls,
        flags: Mapping[str, object] | None = None,
        environ: Mapping[str, str] = os.environ,
        file: Path | None = None,
    ) -> Self:
        """Settings from flags (None means not given), the environment and `file` (``settings.toml``).

        Raises:
            InvalidArgument: a value is not of its option's type or range, the file has a key that is not an option, or
                the environment has a variable FITSERVE_… that means nothing.
        """
        values: dict[str, object] = {}
        known = {option.name: option for option in fields(cls)}
        if file is not None and file.exists():
            values.update(_from_toml(file, known))
        _check_names(environ, known)
        for name, option in known.items():
            text = environ.get(f"FITSERVE_{name.upper()}")
            if text is not None and _is_service_link(name, text):
                continue
            if text is not None:
                values[name] = _parse(option, text, f"FITSERVE_{name.upper()}")
        values.update({name: value for name, value in (flags or {}).items() if value is not None and name in known})
        return cls(**cast(dict[str, Any], values))

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes: how settings reach the HTTP processes."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(**values)

    @property
    def is_loopback(self) -> bool:
        """Decided by the address, not by the beginning of a name: `127.example.com` may be anywhere."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def needs_key(self) -> bool:
        """Keys are required on any address but loopback, unless the operator explicitly turned them off."""
        return self.require_key or (not self.is_loopback and not self.no_auth)


def option_table() -> list[tuple[str, str, str, str]]:
    """Rows of the docs' table: option, environment variable, default, meaning."""
    return [
        (
            f"--{option.name.replace('_', '-')}",
            f"FITSERVE_{option.name.upper()}",
            str(option.default) if option.default != "" else "(none)",
            str(option.metadata["help"]),
        )
        for option in fields(Settings)
    ]


def _check_names(environ: Mapping[str, str], known: Mapping[str, object]) -> None:
    """Raises InvalidArgument."""
    variables = {f"FITSERVE_{name.upper()}" for name in known} | OTHER_VARIABLES
    for name in sorted(environ):
        rest = name.removeprefix("FITSERVE_")
        if rest == name or name in variables or rest.startswith("TEST_") or _is_service_link(rest, environ[name]):
            continue
        close = difflib.get_close_matches(rest, [each.removeprefix("FITSERVE_") for each in variables], 1, 0.7)
        there = f"did you mean FITSERVE_{close[0]}?" if close else f"there is: {', '.join(sorted(variables))}"
        raise InvalidArgument(name, f"no such variable; {there}")


def _is_service_link(name: str, value: str) -> bool:
    """Kubernetes tells every pod of the services beside it by such variables, also of one whose name begins with fitserve."""
    return _SERVICE_LINK.search(name) is not None or _LINKED.match(value) is not None


def _from_toml(file: Path, known: Mapping[str, Field[Any]]) -> dict[str, object]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(file.name, f"not TOML: {error}") from None
    for name in values:
        if name not in known:
            raise InvalidArgument(f"{name} in {file.name}", f"no such option; there is: {', '.join(sorted(known))}")
    return values


def _parse(option: Field[Any], text: str, where: str) -> object:
    kind: type = type(option.default)
    if kind is bool:
        if text.lower() not in {"1", "0", "true", "false", "yes", "no", "on", "off", ""}:
            raise InvalidArgument(where, f"{text!r} is not true or false")
        return text.lower() in {"1", "true", "yes", "on"}
    try:
        return cast(object, kind(text))
    except ValueError:
        raise InvalidArgument(where, f"{text!r} is not a number") from None


def _check(option: Field[Any], value: object, where: str) -> None:
    kind = type(option.default)
    right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if kind is float:
        right = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    if not right:
        raise InvalidArgument(where, f"{value!r} is not of type {kind.__name__}")
    choices, least = option.metadata["choices"], option.metadata["least"]
    if choices and value not in choices:
        raise InvalidArgument(where, f"{value!r} is not one of {', '.join(choices)}")
    if least is not None and cast(float, value) < least:
        raise InvalidArgument(where, f"{value!r} is less than {least:g}")
