"""Starts the processes of a version: files, interpreters, nurseries, limit groups, children.

It decides nothing: `gateway.supervisor.models` says what to start, `gateway.supervisor.version` what to do when that
fails.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Final

from gateway.ipc.routing_table import LastDeath
from gateway.rundir.version_log import VersionLog
from gateway.schema.infer import schema_for
from gateway.schema.methods import METHODS
from gateway.schema.samples import Sample, read_sample
from gateway.settings import Settings
from gateway.supervisor.environments import OWN, Interpreters, Ready
from gateway.supervisor.golden import GoldenRows
from gateway.supervisor.log_tail import LogTail, Sink
from gateway.supervisor.model_dir import offer
from gateway.supervisor.nursery import NurseryFailed
from gateway.supervisor.nursery_pool import NurseryPool
from gateway.supervisor.reaper import Reaper
from gateway.supervisor.replicas import Child, FailureKind, OnDeath, ReplicaSet, StartFailed
from gateway.supervisor.version_state import VersionState
from gateway.supervisor.worker_process import ChildFailed, ChildHandle, start_child
from registry.composition.plan import PLAN
from registry.errors import FitserveError
from registry.golden import answer_forms
from registry.inference import FOLDER_OF_MODELS
from registry.limits.base import Backend
from registry.records import Json, ModelVersion
from registry.resources import GB
from registry.serving_environment import Own, ServingEnvironment, decide
from registry.units import memory_text, peak_text
from registry.workspace import Workspace

log = logging.getLogger("fitserve.supervisor")

_SECONDS_PER_GB: Final = 10.0
_PROOF_S: Final = 60.0
_IMPORTS: Final = 40  # modules imported before a fork
_KINDS: Final[dict[str, FailureKind]] = {"digest": "digest", "load": "load", "memory": "memory", "timeout": "timeout"}


@dataclass(frozen=True)
class Files:
    """Where a version's files are on disk, looked up once before it starts."""

    record: ModelVersion
    artifact: Path
    code: Path | None
    serving: ServingEnvironment
    sample: Mapping[str, Json]  # what the registered sample tells of the model's input


class WorkerLauncher:
    """
    Args:
        runtime: the directory of the scoring sockets, mode 0700.
    """

    def __init__(
        self, workspace: Workspace, settings: Settings, backend: Backend, reaper: Reaper, runtime: Path, cores: float
    ) -> None:
        self._workspace = workspace
        self._settings = settings
        self._backend = backend
        self._reaper = reaper
        self._runtime = runtime
        self._interpreters = Interpreters(workspace.interpreters_dir, reaper)
        self._own = Own.here()
        self._golden = GoldenRows(workspace, settings.max_compute_s)
        self._nurseries = NurseryPool(reaper)
        self._loads = asyncio.Semaphore(max(2, round(cores) * 2))  # more at once would only compete
        self._ids = itertools.count(1)
        self._files: dict[str, tuple[Files, Ready]] = {}  # by key of the replica set
        self._proofs: dict[tuple[str | int | None, ...], dict[str, Json]] = {}  # by `_proof_key`
        self._logs: dict[str, VersionLog] = {}
        self._tails: dict[str, LogTail] = {}

    def log_of(self, version: VersionState) -> VersionLog:
        if version.id not in self._logs:
            self._logs[version.id] = VersionLog(self._workspace.logs_dir, version.model, version.record.version)
        return self._logs[version.id]

    @property
    def nursery_pids(self) -> list[int]:
        return self._nurseries.pids

    async def warm(self, records: Iterable[ModelVersion]) -> None:
        """Start the nursery of the gateway's own interpreter ahead of its first use, with the modules that these
        versions import."""
        try:
            nursery = await self._nurseries.get(OWN)
            await nursery.bring(islice(dict.fromkeys(chain(*map(_imports, records))), _IMPORTS))
        except NurseryFailed as error:
            log.warning("models start in fresh interpreters, which is slower: %s", error)

    # the `Launcher` of gateway.supervisor.models

    async def open_replicas(
        self, version: VersionState, key: str, admit: Callable[[], Awaitable[None]], on_death: OnDeath
    ) -> ReplicaSet:
        record = version.record
        version.start_ms = {"seen": max(0.0, (version.seen_time - record.created_time).total_seconds() * 1000)}
        began = time.monotonic()
        files = await asyncio.to_thread(self._look_up, record)
        try:
            ready = await self._interpreters.get(files.serving, self._progress(version))
        finally:
            version.progress = None
        if version.replicas is None:
            version.serving, version.notes = files.serving, _notes(files.serving, ready)
        await admit()
        try:
            group = self._backend.create(key, version.limits, tasks=self._settings.model_tasks)
        except OSError as error:
            raise StartFailed("load", f"its limit group could not be made: {error.strerror}") from error
        replicas = ReplicaSet(version.id, group, version.limits, version.size, on_death)
        self._files[key] = files, ready
        version.start_ms["prepare"] = _since(began)
        return replicas

    async def start_child(self, version: VersionState, replicas: ReplicaSet) -> Child:
        async with self._loads:
            return await self._start(version, replicas)

    async def prove(self, version: VersionState, replicas: ReplicaSet, child: Child) -> None:
        """Find out how a child may be asked, and put it into its description: which methods have shortcuts, and which
        answer batched rows differently. Until then callers are answered by the public methods, one request at a time.

        The result of an earlier child with the same bytes in the same environment is reused.
        """
        if child.proved:
            return
        child.proved = True
        self._golden.store(version.record)
        began = time.monotonic()
        key = _proof_key(version.record, replicas, self._files[replicas.key][1])
        known = self._proofs.get(key)
        try:
            scoring = await child.handle.prove(known and known["scoring"], _PROOF_S)
            together = known["unbatchable"] if known else await self._golden.together(child)
        except (ChildFailed, OSError, TimeoutError) as error:  # its death is handled elsewhere
            log.warning("%s: child %d: shortcuts and batching were not proved: %s", replicas.what, child.pid, error)
            return
        self._proofs[key] = {"scoring": scoring, "unbatchable": together}
        child.description = {**child.description, **self._proofs[key], "proving": False}
        version.start_ms["proof"] = _since(began)
        if replicas is version.replicas or not version.children:
            version.description = child.description

    def recorded(self, record: ModelVersion) -> bool:
        return self._golden.recorded(record)

    def forget_replicas(self, replicas: ReplicaSet) -> None:
        """The replica set has been closed."""
        self._files.pop(replicas.key, None)

    def close_log(self, version: VersionState) -> None:
        """None of its processes runs: free the memory and the descriptor of its log until the next line."""
        self._tails.pop(version.id, None)
        version_log = self._logs.pop(version.id, None)
        if version_log is not None:
            version_log.close()

    async def close(self) -> None:
        """End the nurseries."""
        await self._golden.close()
        await self._nurseries.close()
        for version_log in self._logs.values():
            version_log.close()

    # steps

    def _look_up(self, record: ModelVersion) -> Files:
        """Blocking.

        Raises:
            FitserveError: something is missing from the workspace.
        """
        artifacts, metadata = self._workspace.artifacts, self._workspace.metadata
        spec = metadata.get_environment_by_digest(record.environment).spec if record.environment else None
        code = artifacts.local_path(record.code) if record.code else None
        modules = {path.stem for path in code.iterdir()} if code is not None else set()
        return Files(
            record=record,
            artifact=artifacts.local_path(record.artifact.digest),
            code=code,
            serving=decide(record, self._own, spec=spec, code=modules),
            sample={} if (sample := self._rows(record)) is None else sample.told(),
        )

    def _progress(self, version: VersionState) -> Sink:
        """Writes the output of its environment's build to its log, and the last line to its status."""
        write = self.log_of(version).write

        def tell(data: bytes) -> None:
            write(data)
            lines = data.decode("utf-8", "replace").split("\n")
            version.progress = next((line for line in reversed(lines) if line.strip()), version.progress)

        return tell

    async def _start(self, version: VersionState, replicas: ReplicaSet) -> Child:
        files, ready = self._files[replicas.key]
        began = time.monotonic()
        handle = await self._forked(version, ready)
        try:
            await handle.hello()
            doors = _join(replicas, handle)
            version.start_ms["fork"] = _since(began)
            began = time.monotonic()
            number = next(self._ids)
            listen = str(self._runtime / f"{number}.sock")
            order = {**self._order(replicas, files, listen), "doors": doors}
            description = await handle.go(order, self._patience(version.record))
            if doors and handle.pid not in replicas.group.pids():
                raise StartFailed("load", f"model {replicas.what} was not loaded inside its limit group")
            version.start_ms["load"] = _since(began)
            child = Child(number, handle, listen, description)
            self._reuse_proof(version, replicas, child)
            began = time.monotonic()
            await self._learn(version, replicas, child)
            version.start_ms["golden"] = _since(began)
            handle.send("serve")
        except ChildFailed as failure:
            handle.kill()
            raise await self._explained(replicas, handle, failure) from None
        except StartFailed:
            handle.kill()
            raise
        except FitserveError as error:  # the golden rows cannot be read
            handle.kill()
            raise StartFailed("golden", f"model {replicas.what} was not verified: {error}") from error
        except OSError as error:  # the group or the socket
            handle.kill()
            raise _no_process(f"model {replicas.what} could not be started: {error.strerror or error}") from error
        except BaseException:
            handle.kill()
            raise
        log.info("%s: child %d serves within %g GB", replicas.what, handle.pid, replicas.limits.memory_in_gb)
        self._log_start(version, replicas, child)
        return child

    def _log_start(self, version: VersionState, replicas: ReplicaSet, child: Child) -> None:
        """A line in the version's log, which is empty otherwise where a model prints nothing."""
        found = child.description
        libraries = f"Python {found.get('python')}" + (f", scikit-learn {v}" if (v := found.get("sklearn")) else "")
        limits = f"{replicas.limits.cores:g} cores, {memory_text(replicas.limits.memory_in_gb)}"
        now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
        line = f"{now} {replicas.what}: process {child.pid} loaded the model ({libraries}; {limits}) and serves\n"
        version_log = self.log_of(version)
        version_log.write(line.encode())
        version_log.close()  # a thousand quiet models should not hold a descriptor each

    async def _forked(self, version: VersionState, ready: Ready) -> ChildHandle:
        """A child that waits for its order: forked from a nursery if possible, else in a fresh interpreter."""
        tail = self._tail(version)
        imports = _imports(version.record)[:_IMPORTS]
        for _ in range(2):  # a nursery may have died since it was used last
            try:
                nursery = await self._nurseries.get(ready)
                return await nursery.fork(log=tail, imports=imports)
            except NurseryFailed as error:
                log.warning("%s: no fork from the nursery: %s", version.id, error)
        try:
            return start_child(
                ready.python, self._reaper, variables=ready.variables, threads=version.limits.threads, log=tail
            )
        except OSError as error:
            raise _no_process(f"{ready.python.name} could not be started: {error.strerror}") from None

    def _order(self, replicas: ReplicaSet, files: Files, listen: str) -> dict[str, Json]:
        artifact = files.record.artifact  # as the replica set was opened; the record may have changed since
        script = files.record.settings.get("entry_script")
        return {
            **(self._script_order(files.record, files, script) if script else {}),
            "artifact": str(files.artifact),
            "digest": artifact.digest,
            "kind": artifact.kind,
            "format": artifact.format,
            "code": str(files.code) if files.code else None,
            "plan": files.record.settings.get(PLAN),
            "sample": dict(files.sample),
            "listen": listen,
            "threads": replicas.limits.threads,
            "rlimits": replicas.group.rlimits(),
            "methods": list(METHODS),
            "dense_limit_bytes": int(self._settings.dense_limit_mb * 1e6),
            "answer_limit_bytes": int(self._settings.answer_limit_mb * 1e6),
        }

    def _script_order(self, record: ModelVersion, files: Files, script: str) -> dict[str, Json]:
        """The scoring script, and a folder with its model laid out as in Azure's containers:
        `<name>/<version>/<model>`."""
        root = self._runtime / f"app-{record.artifact.digest[:16]}"
        several = bool(record.settings.get(FOLDER_OF_MODELS))
        models = root / "azureml-models" if several else root / "azureml-models" / record.name / str(record.version)
        offer(files.artifact, models if several else models / record.artifact.name)
        code = files.code or root
        return {"script": str(code / script), "app_root": str(root), "model_dir": str(models)}

    async def _learn(self, version: VersionState, replicas: ReplicaSet, child: Child) -> None:
        """Take over the description of the loaded model, and check its answers against the golden rows.

        If the check fails for a replica set that starts beside one that serves, the version's state is left as it is.

        Raises:
            StartFailed: the model answers differently than recorded.
        """
        record = version.record
        if version.schema is None or record.settings.get("entry_script"):  # another script may take other arguments
            version.schema = await self._schema(version, child)
        sample = await asyncio.to_thread(self._rows, record) if record.sample and not record.golden else None
        report = await self._golden.check(record, child, sample, replicas.unrecorded)
        if child.recording is not None:
            child.description["answers"] = answer_forms(child.recording)
        if report.problem is None or not version.children:
            self._adopt(version, replicas)
            version.description = child.description
            version.golden, version.unverified = report.to_json(), report.unverified is not None
        if report.problem is not None:
            raise StartFailed("golden", f"model {version.id} {report.problem}")

    def _reuse_proof(self, version: VersionState, replicas: ReplicaSet, child: Child) -> None:
        """Before the proof: batch only if an earlier child with the same content proved it right."""
        known = self._proofs.get(_proof_key(version.record, replicas, self._files[replicas.key][1]))
        if known is not None:
            child.description["unbatchable"] = known["unbatchable"]
        elif child.description["kind"] == "script":
            child.proved = True
        else:
            child.description["proving"] = True

    def _adopt(self, version: VersionState, replicas: ReplicaSet) -> None:
        """Make this replica set's environment the version's."""
        files, ready = self._files[replicas.key]
        if version.serving != files.serving:
            version.serving, version.notes = files.serving, _notes(files.serving, ready)

    async def _schema(self, version: VersionState, child: Child) -> dict[str, Json]:
        if version.record.sample is None:
            return schema_for(child.description)
        try:
            return await asyncio.to_thread(self._schema_with_sample, version.record, child.description)
        except FitserveError as error:
            log.warning("%s: the sample is not used: %s", version.id, error)
            version.notes.append(f"the sample is not used: {error}")
            return schema_for(child.description)

    def _schema_with_sample(self, record: ModelVersion, description: dict[str, Json]) -> dict[str, Json]:
        """Blocking."""
        assert record.sample is not None
        return schema_for(description, self._workspace.artifacts.read_bytes(record.sample), record.sample_name)

    def _rows(self, record: ModelVersion) -> Sample | None:
        """Blocking: the sample as rows; None where there is none that can be read, which the schema says."""
        if record.sample is None:
            return None
        with contextlib.suppress(FitserveError):
            return read_sample(self._workspace.artifacts.read_bytes(record.sample), record.sample_name or "sample.json")
        return None

    async def _explained(self, replicas: ReplicaSet, handle: ChildHandle, failure: ChildFailed) -> StartFailed:
        """Why a child did not come to serve."""
        end = failure.exit or await handle.exited
        death = replicas.verdict(end)
        if death.cause == "memory" or failure.kind == "memory":
            limit = replicas.limits.memory_in_gb
            peak = peak_text(limit, death.peak_gb)
            sentence = f"model {replicas.what} does not fit into its memory limit of {memory_text(limit)}{peak}: it ran out while loading"
            return StartFailed("memory", sentence, death)
        kind = _KINDS.get(failure.kind, "died")
        sentence = f"model {replicas.what} was not loaded: {failure.reason}"
        return StartFailed(kind, sentence, death if kind == "died" else None)

    def _patience(self, record: ModelVersion) -> float:
        return self._settings.start_timeout_s + _SECONDS_PER_GB * record.artifact.size / GB

    def _tail(self, version: VersionState) -> LogTail:
        if version.id not in self._tails:
            self._tails[version.id] = LogTail(lambda data: self.log_of(version).write(data))
        return self._tails[version.id]


def _notes(serving: ServingEnvironment, ready: Ready) -> list[str]:
    """Warnings about an environment, without duplicates."""
    return list(dict.fromkeys((*serving.warnings, *ready.warnings)))


def _proof_key(record: ModelVersion, replicas: ReplicaSet, ready: Ready) -> tuple[str | int | None, ...]:
    """Everything that decides how a model answers (bytes, code, interpreter, threads), and the rows it was proved
    with."""
    return record.artifact.digest, record.code, ready.digest, replicas.limits.threads, record.sample


def _imports(record: ModelVersion) -> list[str]:
    """Modules that its file refers to."""
    modules = [str(name).rpartition(".")[0] for name in record.facts.get("globals") or ()]
    return [module for module in dict.fromkeys(modules) if module]


def _join(replicas: ReplicaSet, handle: ChildHandle) -> list[str]:
    """Put a child into its limit group before it loads anything; gives the files by which it joins by itself, if it
    must."""
    if handle.threads == 1:
        return list(replicas.group.expect(handle.pid))
    replicas.group.add(handle.pid)
    return []


def _no_process(sentence: str) -> StartFailed:
    """The machine lacked a resource that may be available later: retry as after a death."""
    return StartFailed("machine", sentence, LastDeath("no process", sentence))


def _since(began: float) -> float:
    return (time.monotonic() - began) * 1000
