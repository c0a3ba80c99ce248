"""Webservice: a deployed service as Azure ML v1's SDK shows it, over the registry and the gateway of its workspace."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from gateway.auth import service_keys
from gateway.client.daemon import ensure_gateway
from gateway.client.errors import DeploymentFailed, DeploymentTimedOut, GatewaySilent, KeysAreOff, ServiceCallFailed
from gateway.client.http_call import ask
from gateway.client.table_files import check_output, column_types, in_parts, is_file, rows_of, write_answers
from gateway.rundir.applied import wait_until_in_force
from gateway.rundir.state import GatewayState, running_gateway
from gateway.rundir.version_log import service_log
from registry import services
from registry.described import Described
from registry.errors import InvalidArgument
from registry.inference import INFERENCE, InferenceConfig, content_of
from registry.model import Model
from registry.records import Json, ServiceRecord
from registry.resources import ResourceConfiguration
from registry.workspace import Workspace

COMPUTE_TYPES: Final = ("ACI", "AKS", "Local")
_NOT_RUNNING: Final = "no gateway serves this workspace: start one with `fitserve serve`"
_FAILED: Final = {"failed": "Failed", "quarantined": "Unhealthy", "unloaded": "Unhealthy"}
_PATIENCE_S: Final = 600.0  # for a deployment when no time is named: an environment may have to be built
_POLL_S: Final = 0.02
_ROOM_S: Final = 3.0  # for the gateway to begin to start what is asked for
_SCORING_S: Final = 300.0


class Webservice(Described[ServiceRecord]):
    """A service of a workspace, by its name.

    Raises:
        ServiceNotFound
    """

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.workspace = workspace
        self._record = workspace.metadata.get_service(name)
        self._state, self._error = "Transitioning", ""
        self._resting = False  # a request would start it
        self._limits: Mapping[str, float] | None = None
        self.update_deployment_state()

    @classmethod
    def deploy(
        cls,
        workspace: Workspace,
        name: str,
        models: Sequence[Model | str],
        *,
        compute_type: str = "ACI",
        auth_enabled: bool | None = None,
        primary_key: str | None = None,
        secondary_key: str | None = None,
        cpu: float | None = None,
        memory_in_gb: float | None = None,
        port: int | None = None,
        overwrite: bool = False,
        tags: Mapping[str, object] | None = None,
        properties: Mapping[str, object] | None = None,
        description: str | None = None,
        default: bool = False,
        inference: InferenceConfig | None = None,
        say: Callable[[str], None] = print,
    ) -> "Webservice":
        """Let a model answer under a service's name, and make sure that a gateway does so.

        Args:
            models: exactly one, with a scoring script also several, see `registry.services.deploy`.
            inference: a scoring script, or an environment, of its own, in processes of its own.
            compute_type: how it calls itself; AKS services ask for a key unless `auth_enabled` says otherwise.
            cpu, memory_in_gb: of its own, in processes of its own; what is not given of the two is the version's. With neither
                it shares the version's processes.
            port: of a gateway that has to be started.
            say: gets the sentences for a person.

        Raises:
            ServiceExists, ModelNotFound, InvalidName, InvalidArgument, InvalidResource, GatewayNotStarted
        """
        if compute_type not in COMPUTE_TYPES:
            raise InvalidArgument("compute_type", f"{compute_type!r} is not one of: {', '.join(COMPUTE_TYPES)}")
        if auth_enabled is None:
            auth_enabled = compute_type == "AKS"
        settings: dict[str, Json] = {"compute_type": compute_type, "auth_enabled": bool(auth_enabled)}
        settings |= services.own_resources(cpu, memory_in_gb)
        if auth_enabled:
            chosen = {"Primary": primary_key, "Secondary": secondary_key}
            settings.update(service_keys.first_keys(workspace.root, name, chosen))
        services.deploy(
            workspace,
            name,
            models,
            overwrite=overwrite,
            settings=settings,
            tags=tags,
            properties=properties,
            description=description,
            default=default,
            inference=inference,
        )
        state = ensure_gateway(workspace, port, say)
        if port is not None and state.port != port:
            say(f"port {port} is not used: the gateway of this workspace answers on port {state.port}")
        return cls(workspace, name)

    @classmethod
    def list(
        cls,
        workspace: Workspace,
        compute_type: str | None = None,
        model_name: str | None = None,
        model_id: str | None = None,
        tags: Any = None,
        properties: Any = None,
    ) -> "list[Webservice]":
        """Those that fit, oldest first. `tags` and `properties` are keys and [key, value] pairs."""
        from registry.filter import fits

        return [
            cls(workspace, record.name)
            for record in workspace.metadata.list_services()
            if compute_type in (None, record.settings.get("compute_type"))
            and model_name in (None, services.target(record)[0])
            and (model_id is None or model_id in record.models)
            and fits(record.tags, tags)
            and fits(record.properties, properties)
        ]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(workspace={self.workspace!r}, name={self.name!r}, state={self._state!r})"

    # what it is

    @property
    def compute_type(self) -> str:
        return str(self._record.settings.get("compute_type", "ACI"))

    @property
    def auth_enabled(self) -> bool:
        return bool(self._record.settings.get("auth_enabled"))

    @property
    def updated_time(self) -> datetime:
        return self._record.updated_time

    @property
    def models(self) -> Sequence[Model]:
        named = [name.partition(":") for name in self._record.models]
        return [Model(self.workspace, name, version=version or None) for name, _, version in named]

    @property
    def own_limits(self) -> bool:
        """Whether it has processes of its own, under `limits`; else it shares those of the version, and their limits."""
        return services.runs_alone(self._record)

    @property
    def limits(self) -> ResourceConfiguration:
        """What its processes may use: of the cores that are asked for at most those of the gateway's machine."""
        if self._limits is not None:
            return ResourceConfiguration(cpu=self._limits["cpu"], memory_in_gb=self._limits["memory_in_gb"])
        return services.own_version(self._record, self.models[0].record).resource_configuration

    @property
    def state(self) -> str:
        """Transitioning, Healthy, Unhealthy or Failed, as of the last `update_deployment_state` or wait."""
        return self._state

    @property
    def error(self) -> str:
        """Why it is not healthy, as of the same time."""
        return self._error

    @property
    def scoring_uri(self) -> str | None:
        """None while no gateway serves the workspace."""
        return self._uri("score")

    @property
    def swagger_uri(self) -> str | None:
        return self._uri("swagger.json")

    def _uri(self, rest: str) -> str | None:
        state = running_gateway(self.workspace.root)
        return None if state is None else f"{state.url}/api/v1/service/{self.name}/{rest}"

    def serialize(self) -> dict[str, Json]:
        """As Azure's JSON has it."""
        record = self._record
        return {
            "name": record.name,
            "computeType": self.compute_type,
            "state": self._state,
            "error": self._error or None,
            "authEnabled": self.auth_enabled,
            "scoringUri": self.scoring_uri,
            "swaggerUri": self.swagger_uri,
            "models": list(record.models),
            "containerResourceRequirements": {"cpu": self.limits.cpu, "memoryInGB": self.limits.memory_in_gb},
            "ownLimits": self.own_limits,
            "tags": self.tags,
            "properties": self.properties,
            "description": record.description,
            "createdTime": record.created_time.isoformat(),
            "updatedTime": record.updated_time.isoformat(),
        }

    # how it goes

    def update_deployment_state(self) -> None:
        """Read again what is deployed, and ask the gateway how it is."""
        self._update(start=False)

    def _update(self, start: bool) -> None:
        """`start`: have it started when it rests."""
        self._record = self.workspace.metadata.get_service(self.name)
        self._resting = False
        gateway = running_gateway(self.workspace.root)
        if gateway is None:
            self._state, self._error = "Unhealthy", _NOT_RUNNING
            return
        told = self._told(gateway, start)
        name, version = services.target(self._record)
        if told is None or (told["model"], told["asked_version"]) != (name, version):
            self._state, self._error = "Transitioning", ""  # the gateway has not seen the change yet
            return
        if not self._in_force(told):
            refused = "not in force" in str(told["reason"])
            self._state, self._error = ("Failed", str(told["reason"])) if refused else ("Transitioning", "")
            return
        state, reason = str(told["state"]), told["reason"]
        self._resting = resting = state == "idle" and not told["ready"]
        self._error = "" if told["ready"] else str(reason or "")
        if told["ready"] or (resting and told["loaded"] and not reason and not start):
            self._state = "Healthy"
        else:
            self._state = "Unhealthy" if resting and reason else _FAILED.get(state, "Transitioning")

    def _in_force(self, told: Mapping[str, Any]) -> bool:
        """Whether the gateway has taken over the limits, script and environment that the record asks for."""
        own = self._record.settings.get(services.RESOURCES) or {}
        asked = {name: value for name, value in own.items() if value is not None}
        self._limits = {**told["limits"], "cpu": told.get("cpu_in_force", told["limits"]["cpu"])}
        content = True
        if INFERENCE in self._record.settings:
            record = Model(self.workspace, told["model"], version=told["version"]).record
            content = told["content"] == content_of(services.own_version(self._record, record))
        return bool(told["alone"] == self.own_limits and asked.items() <= told["limits"].items() and content)

    def _told(self, gateway: GatewayState, start: bool) -> dict[str, Any] | None:
        """What the gateway says of it; None while it does not know it."""
        url = f"{gateway.url}/api/v1/service/{self.name}{'?start=1' if start else ''}"
        try:
            status, body = ask(url, headers=_bearer(os.environ.get("FITSERVE_KEY") or gateway.token))
        except GatewaySilent:
            if running_gateway(self.workspace.root) is None:
                return None
            raise
        if status == 404:
            return None
        if status != 200:
            raise ServiceCallFailed(self.name, status, body.decode(errors="replace"))
        return dict(json.loads(body))

    def wait_for_deployment(self, show_output: bool = False, timeout_sec: float | None = None) -> None:
        """Return when it is healthy.

        Raises:
            DeploymentFailed: the model cannot be served; the reason is the gateway's.
            DeploymentTimedOut: it is not healthy after `timeout_sec`, 600 by default.
        """
        say = _printer(show_output)
        patience = _PATIENCE_S if timeout_sec is None or timeout_sec <= 0 else timeout_sec
        began = last_dot = time.monotonic()
        say("Tips: You can try get_logs() to see why a deployment does not come up.\nRunning")
        self._update(start=True)
        while self._goes_on(began) and time.monotonic() - began < patience:
            time.sleep(_POLL_S)
            if time.monotonic() - last_dot > 1:
                say(".")
                last_dot = time.monotonic()
            self._update(start=True)
        self._conclude(say, patience)

    def _goes_on(self, began: float) -> bool:
        """Also where it rests for a reason: that may be from before it was asked for, which makes room."""
        return self._state == "Transitioning" or (self._resting and time.monotonic() - began < _ROOM_S)

    def _conclude(self, say: Callable[[str], None], patience: float) -> None:
        what = f"{self.compute_type} service creation operation finished, operation"
        if self._state == "Healthy":
            say("\nSucceeded\n")
            if self.compute_type == "Local":
                say(f"Local webservice is running at {(self.scoring_uri or '').partition('/api/')[0]}\n")
            else:
                say(f'{what} "Succeeded"\n')
            return
        if self._state == "Transitioning":
            say(f'\nTimedOut\n{what} "TimedOut"\n')
            raise DeploymentTimedOut(self.name, self._state, patience)
        say(f'\nFailed\n{what} "Failed"\n')
        raise DeploymentFailed(self.name, self._state, self._error or "see get_logs()")

    def run(self, input: Any, *, method: str | None = None, output: str | Path | None = None) -> Any:
        """Score `input` and give the answer as Python values.

        Args:
            input: JSON text or bytes, sent as it is; or a whole body, lists, an array, a DataFrame, or the name of a .csv, .parquet,
                .json, .jsonl or .npy file, sent in parts where it is large.
            method: of the model; only where `input` is no text.
            output: a .csv, .parquet or .jsonl file that the answers are written to as well, a row an input row.

        Raises:
            ServiceCallFailed: the answer is not 200.
            InvalidArgument: `input` cannot be read, or `output` cannot be written.
        """
        if self.scoring_uri is None:
            raise DeploymentFailed(self.name, "Unhealthy", _NOT_RUNNING)
        script = INFERENCE in self._record.settings
        is_text = isinstance(input, str | bytes) and not is_file(input)
        if isinstance(input, dict) and ((script and "data" not in input) or "input_data" in input):
            is_text, input = True, json.dumps(input)  # whole bodies of other kinds
        if is_text or (isinstance(input, str) and script and not Path(input).is_file()):
            if method is not None or output is not None:
                raise InvalidArgument("input", "JSON text is sent as it is; method and output go with rows and files")
            return json.loads(self._post(input if isinstance(input, bytes) else input.encode()))
        if output is not None:
            check_output(Path(output))
        given = rows_of(Path(input) if isinstance(input, str) else input, self._column_types())
        if method is not None:
            given.rest["method"] = method
        answers = in_parts(self._post, given)
        if output is not None:
            write_answers(answers, Path(output))
        return answers.body

    def _column_types(self) -> Mapping[str, str]:
        status, document = ask(f"{self.swagger_uri}?version=3.1", None, _bearer(self.key))
        return column_types(json.loads(document)) if status == 200 else {}

    def _post(self, body: bytes, where: str = "") -> bytes:
        headers = _bearer(self.key) | {"content-type": "application/json"}
        status, answer = ask(str(self.scoring_uri), body, headers, timeout_s=_SCORING_S)
        if status != 200:
            raise ServiceCallFailed(self.name, status, where + answer.decode(errors="replace"))
        return answer

    def get_logs(self, num_lines: int = 5000) -> str:
        """The last lines of what the model's processes wrote, and at their end why it is not healthy, where it is not."""
        lines: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            text = service_log(self.workspace, self._record).read_text(encoding="utf-8", errors="replace")
            lines = text.splitlines()[-num_lines:]
        if self._error:
            lines.append(self._error)
        return "".join(f"{line}\n" for line in lines)

    # keys

    def get_keys(self) -> tuple[str | None, str | None]:
        """Primary and secondary key; None for one that was chosen by a person, of which only the hash is kept.

        Raises:
            KeysAreOff
        """
        if not self.auth_enabled:
            raise KeysAreOff(self.name)
        return service_keys.keys_of(self.workspace.root, self.name, self._record.settings)

    def regen_key(self, key: str, set_key: str | None = None) -> None:
        """Replace the ``"Primary"`` or the ``"Secondary"`` key; the other one stays in force.

        Raises:
            KeysAreOff, InvalidArgument
        """
        if not self.auth_enabled:
            raise KeysAreOff(self.name)
        settings = service_keys.renewed(self.workspace.root, self.name, self._record.settings, key, set_key)
        self._record = services.update(self.workspace, self.name, settings=settings)
        wait_until_in_force(self.workspace)

    @property
    def key(self) -> str | None:
        """One that the service accepts, where that is known: its own, else the gateway's for its owner."""
        if self.auth_enabled and (own := next((key for key in self.get_keys() if key), None)):
            return own
        state = running_gateway(self.workspace.root)
        return os.environ.get("FITSERVE_KEY") or (state.token if state is not None else None) or None

    # change

    def update(
        self,
        models: Sequence[Model | str] | None = None,
        *,
        inference: InferenceConfig | None = None,
        auth_enabled: bool | None = None,
        cpu: float | None = None,
        memory_in_gb: float | None = None,
        tags: Mapping[str, object] | None = None,
        properties: Mapping[str, object] | None = None,
        description: str | None = None,
    ) -> None:
        """Replace what is given. No request is lost while another model, script or other limits take over."""
        own = self._record.settings.get(services.RESOURCES) or {"cpu": None, "memory_in_gb": None}
        settings = services.own_resources(
            own["cpu"] if cpu is None else cpu, own["memory_in_gb"] if memory_in_gb is None else memory_in_gb
        )
        if auth_enabled is not None:
            settings["auth_enabled"] = auth_enabled
            if auth_enabled and not self._record.settings.get("keys"):
                settings.update(service_keys.first_keys(self.workspace.root, self.name, {}))
        self._record = services.update(
            self.workspace,
            self.name,
            models=models,
            inference=inference,
            settings=settings,
            tags=tags,
            properties=properties,
            description=description,
        )
        wait_until_in_force(self.workspace)
        self.update_deployment_state()

    def delete(self) -> None:
        """The model stays registered, and answers under its own name."""
        services.delete(self.workspace, self.name)
        wait_until_in_force(self.workspace)


def _bearer(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def _printer(show: bool) -> Callable[[str], None]:
    def say(text: str) -> None:
        if show:
            sys.stdout.write(text)
            sys.stdout.flush()

    return say
