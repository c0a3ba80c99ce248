"""What a package holds: versions with the exact releases that serve them, services, settings, and the content they name."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway.package.errors import AnswersTwice, CannotPin, NothingToPackage, UnsafeValue
from gateway.package.patterns import checked
from gateway.settings import Settings
from registry.environments.conda_tool import is_conda_release
from registry.environments.interpreters import interpreter_for
from registry.environments.requirements import normalized
from registry.environments.serving import Own, ServingEnvironment, decide
from registry.inference import INFERENCE, InferenceConfig, answering, content_of, ids_of
from registry.records import Json, ModelVersion, ServiceRecord
from registry.sdk.model import Model
from registry.sdk.workspace import Workspace

#: Always pinned: what a model's answers depend on.
_BASE: Final = ("scikit-learn", "numpy", "scipy", "pandas", "joblib")
#: Settings that belong to one machine, not to the models.
_LOCAL: Final = frozenset({"host", "port", "key_file", "no_auth", "require_key"})
#: Keys are the workspace's, and so are the numbers that they are made from; what a script is, its version has in the image.
_LOCAL_SERVICE: Final = frozenset({"keys", "key_numbers", "auth_enabled", INFERENCE})


@dataclass(frozen=True)
class Pinned:
    """An environment with nothing left to be resolved. `own`: the gateway's own, to be built only where that differs; of it what
    answers depend on is named, since an image that has those releases needs no other."""

    python: str
    requirements: tuple[str, ...]
    variables: Mapping[str, str]
    own: bool


@dataclass(frozen=True)
class Packaged:
    """One version: its record, its environment, and the digests of all content that it needs, those of folders opened."""

    record: ModelVersion
    environment: Pinned
    content: tuple[str, ...]


@dataclass(frozen=True)
class Contents:
    """`notes` are for a person: what the package cannot carry, or carries and should not be shown around."""

    models: tuple[Packaged, ...]
    services: tuple[ServiceRecord, ...]
    default: str
    settings: Mapping[str, Json]
    notes: tuple[str, ...]


def collect(
    workspace: Workspace,
    names: Sequence[str] = (),
    services: Sequence[str] = (),
    *,
    inference: InferenceConfig | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Contents:
    """
    Args:
        names: models: ``name``, which means its latest version, or ``name:version``. None named, and no service: the
            latest version of every model.
        services: those of the workspace that shall answer under their names.
        inference: a script or an environment that `names`, several only with a script, answer with instead of their own.
        say: gets what building an environment prints; that is needed where one was never resolved to releases.

    Raises:
        ModelNotFound, ServiceNotFound, NothingToPackage, CannotPin, UnsafeValue, EnvironmentBuildError, InvalidArgument
    """
    served = [workspace.metadata.get_service(checked("a service", name)) for name in services]
    wanted = [*names, *(service.models[0] for service in served)]
    if not wanted:
        wanted = [record.name for record in workspace.metadata.list_models()]
    if inference is None:
        records = {record.id: record for record in (_record(workspace, name) for name in wanted)}
    else:
        record = _answering_by(workspace, inference, names)
        records = {record.id: record}
    for service in served:
        record = answering(service, _record(workspace, service.models[0]))
        if content_of(record) != content_of(records[record.id]) and wanted.count(service.models[0]) > 1:
            raise AnswersTwice(record.id, service.name)
        records[record.id] = record
    if not records:
        raise NothingToPackage
    own = Own.here()
    notes: list[str] = []
    models = tuple(
        _packaged(workspace, records[model_id], own, notes, say)
        for model_id in sorted(records, key=lambda key: (records[key].name, records[key].version))
    )
    default = workspace.metadata.get_value("default_service")
    known = {service.name for service in served} | {record.name for record in records.values()}
    if default not in known:
        default = served[0].name if served else models[0].record.name
    settings = _settings(workspace.root / "settings.toml")
    notes += [
        f"service {service.name}: its keys stay behind; the image asks for FITSERVE_KEY"
        for service in served
        if service.settings.get("auth_enabled")
    ]
    plain = [replace(s, settings=_without(s.settings, _LOCAL_SERVICE)) for s in sorted(served, key=lambda s: s.name)]
    return Contents(models, tuple(plain), str(default), settings, tuple(notes))


def _answering_by(workspace: Workspace, inference: InferenceConfig, names: Sequence[str]) -> ModelVersion:
    """The first of these models as a service would have it; it holds the others where there are several."""
    now = datetime.now(UTC)
    own, models = inference.store(workspace, names), ids_of(workspace, names)
    service = ServiceRecord(name="package", models=models, created_time=now, updated_time=now, settings=own)
    return answering(service, _record(workspace, models[0]))


def _record(workspace: Workspace, name: str) -> ModelVersion:
    base, colon, number = name.partition(":")
    if colon and not number.isdecimal():
        checked("a model", name)
    record = Model(workspace, name=base, version=int(number) if colon else None).record
    checked("a model", record.id)
    return record


def _packaged(
    workspace: Workspace, record: ModelVersion, own: Own, notes: list[str], say: Callable[[str], None]
) -> Packaged:
    artifacts = workspace.artifacts
    folders = [record.code] if record.code else []
    folders += [record.artifact.digest] if record.artifact.kind == "folder" else []
    code = artifacts.files(record.code) if record.code else {}
    inside = [digest for folder in folders for digest in artifacts.files(folder).values()]
    named = [record.artifact.digest, record.code, record.sample, record.golden]
    named += [record.settings.get("sample_output"), record.settings.get("expected")]
    content = sorted({checked("a digest", digest) for digest in [*named, *inside] if digest})
    for digest in content:
        artifacts.verify(digest)
    spec = workspace.metadata.get_environment_by_digest(record.environment).spec if record.environment else None
    serving = decide(record, own, spec=spec, code={Path(file).parts[0].removesuffix(".py") for file in code})
    pinned = _pinned(workspace, record, serving, own, notes, say)
    if record.golden is None and "entry_script" not in record.settings:  # what a script says is never recorded
        notes.append(f"{record.id} has no golden rows: serve it once before packaging, and its answers are checked")
    return Packaged(record, pinned, tuple(content))


def _pinned(
    workspace: Workspace,
    record: ModelVersion,
    serving: ServingEnvironment,
    own: Own,
    notes: list[str],
    say: Callable[[str], None],
) -> Pinned:
    if serving.spec is None:
        modules = [normalized(str(module)) for module in record.facts.get("modules") or ()]
        names = sorted({*_BASE, *(name for name in modules if name in own.releases)} & set(own.releases))
        python = ".".join(map(str, own.python))
        return Pinned(python, _releases(record, [f"{name}=={own.releases[name]}" for name in names]), {}, own=True)
    spec = serving.spec
    made = interpreter_for(
        spec, workspace.interpreters_dir, progress=say, strict=serving.strict, name=serving.name, frozen=serving.frozen
    )
    variables = {str(key): str(value) for key, value in (spec.get("variables") or {}).items()}
    if variables:
        notes.append(f"{record.id}: the values of {', '.join(sorted(variables))} are written into the package")
    if spec.get("options"):
        notes.append(
            f"{record.id}: its pip options ({len(spec['options'])}) are left out; packages come from the default index"
        )
    python = checked("a Python", ".".join(made.version.split(".")[:2]))
    releases = [release for release in made.frozen if not is_conda_release(release)]
    if len(releases) < len(made.frozen):
        notes.append(f"{record.id}: the image installs from PyPI what conda installed here")
    return Pinned(python, _releases(record, releases), variables, own=False)


def _releases(record: ModelVersion, found: Sequence[str]) -> tuple[str, ...]:
    pinned = set()
    for release in found:
        try:
            pinned.add(checked("a pinned requirement", release))
        except UnsafeValue:
            raise CannotPin(record.id, release) from None
    return tuple(sorted(pinned, key=str.lower))


def _settings(file: Path) -> dict[str, Json]:
    """What `settings.toml` says, checked, without what belongs to this machine."""
    if not file.exists():
        return {}
    Settings.load(environ={}, file=file)
    return _without(tomllib.loads(file.read_text(encoding="utf-8")), _LOCAL)


def _without(values: Mapping[str, Json], left_out: frozenset[str]) -> dict[str, Json]:
    return {key: values[key] for key in sorted(values) if key not in left_out}
