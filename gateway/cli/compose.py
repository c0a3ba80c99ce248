"""A model that comes in several files: found out how they fit, shown, and laid together for registration."""

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from gateway.client.inspection import inspect_files
from registry.artifact import ArtifactFacts, read_artifact
from registry.composition.files import ModelFile, gather, is_container, is_model_file, merged, writers
from registry.composition.parts import Part
from registry.composition.plan import OF_SCRIPT, PLAN, Plan
from registry.composition.search import CannotCompose, Choices, find_plan
from registry.environment import Environment
from registry.errors import FitserveError, InvalidArgument
from registry.interpreters import interpreter_for
from registry.model import Model
from registry.records import Artifact, ModelVersion
from registry.registration import script_definitions
from registry.resources import ResourceConfiguration
from registry.serving_environment import WITH, Own, decide
from registry.workspace import Workspace
from trainer import Run

_MOST_BESIDE: Final = 12
_STEP_MODULES: Final = (
    "sklearn.preprocessing",
    "sklearn.feature_",
    "sklearn.decomposition",
    "sklearn.impute",
    "sklearn.compose",
)
_PLACE: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def composing_options(command: Any) -> Any:
    """Options that say how the files of one model fit together, where the files alone do not."""
    options = (
        click.option(
            "--order", metavar="FILE,FILE", help="The order of the files, the model last; else it is found out."
        ),
        click.option("--labels", metavar="A,B", help="Names of the classes, in the order of the model's numbers."),
        click.option(
            "--threshold", type=click.FloatRange(0, 1), help="Probability from which the second class is answered."
        ),
        click.option("--dummies", metavar="COLUMN,COLUMN", help="Columns that pandas.get_dummies was applied to."),
        click.option(
            "--map", "maps", metavar="FILE", help="JSON file {column: {value: number}}, applied before the model."
        ),
        click.option(
            "--before", metavar="SCRIPT:FUNCTION", help="A function of a script that each text goes through first."
        ),
        click.option(
            "--keep", "keep", multiple=True, metavar="FILE", help="A file of the latest version, used again; repeat it."
        ),
        click.option("--after", metavar="MODULE:FUNCTION", help="What is applied to the answers, such as numpy:expm1."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def choices_from(given: dict[str, Any]) -> Choices:
    """The options of `composing_options` as one value."""
    return Choices(
        order=_listed(given["order"]),
        labels=_listed(given["labels"]),
        threshold=given["threshold"],
        dummies=_listed(given["dummies"]),
        before=None if given["before"] is None else OF_SCRIPT + script_and_function(given["before"])[1],
        after=_function(given["after"]),
        maps={} if given["maps"] is None else _maps(Path(given["maps"])),
    )


def script_and_function(place: str) -> tuple[Path, str]:
    """``app.py:clean`` in two.

    Raises:
        InvalidArgument: it is not of that form, or there is no such script.
    """
    script, _, function = place.rpartition(":")
    if not script or not function.isidentifier():
        raise InvalidArgument("--before", f"{place!r} is not SCRIPT:FUNCTION, such as app.py:clean")
    if not Path(script).is_file():
        raise InvalidArgument("--before", f"{script} does not exist")
    return Path(script), function


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


def _function(place: str | None) -> str | None:
    if place is not None and not _PLACE.fullmatch(place):
        raise InvalidArgument("--after", f"{place!r} is not MODULE:FUNCTION, such as numpy:expm1")
    return place


def _maps(path: Path) -> dict[str, dict[str, float]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidArgument("--map", f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidArgument("--map", f"{path} is not JSON: {error}") from None
    numbers = isinstance(found, dict) and all(
        isinstance(table, dict) and table and all(isinstance(number, int | float) for number in table.values())
        for table in found.values()
    )
    if not numbers:
        raise InvalidArgument("--map", f"{path} must hold {{column: {{value: number}}}}")
    return found  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Composed:
    """The plan and the files that it needs."""

    plan: Plan
    files: Sequence[ModelFile]


def needs_composing(paths: Sequence[Path], choices: Choices) -> bool:
    """Whether `paths` are not simply one model file, or a folder with one."""
    if len(paths) > 1 or choices != Choices():
        return True
    files = [file for file in gather(paths) if file.facts is not None]
    return len(files) > 1 or any(file.facts is not None and is_container(file.facts) for file in files)


def compose(
    workspace: Workspace,
    paths: Sequence[Path],
    choices: Choices,
    *,
    kept: Sequence[ModelFile] = (),
    environment: Environment | str | None = None,
    more: Sequence[str] = (),
    code: Path | None = None,
    script: Path | None = None,
    say: Any = print,
) -> Composed:
    """The one chain that the objects in `paths` make; see `registry.composition`.

    Raises:
        CannotCompose: none fits, or more than one.
        InspectionFailed · ArtifactError: a file cannot be looked at.
    """
    files = [*gather(paths), *kept]
    if twice := {file.name for file in kept} & {path.name for path in paths}:
        raise InvalidArgument("--keep", f"{', '.join(sorted(twice))} is given anew and kept too; choose one")
    parts = _parts(workspace, files, environment, code, say, more, script)
    plan = find_plan(parts, choices)
    for line in plan.lines():
        say(line)
    needed = {file for file, _ in plan.parts.values()}
    return Composed(plan, [file for file in files if file.name in needed])


def looked_at(workspace: Workspace, paths: Sequence[Path], *, code: Path | None = None, say: Any = print) -> list[Part]:
    """The objects in `paths`.

    Raises:
        CannotCompose · InspectionFailed · ArtifactError: a file cannot be looked at.
    """
    return _parts(workspace, gather(paths), None, code, say)


def kept_files(workspace: Workspace, model: str, names: Sequence[str]) -> list[ModelFile]:
    """Files of the latest version of `model`, as they are stored.

    Raises:
        ModelNotFound: there is no version yet.
        InvalidArgument: it has no such file.
    """
    record = Model(workspace, name=model).record
    stored = workspace.artifacts.local_path(record.artifact.digest)
    here = {path.name: path for path in stored.iterdir()} if stored.is_dir() else {record.artifact.name: stored}
    for name in names:
        if name not in here:
            raise InvalidArgument("--keep", f"{record.id} has no file {name}; it has {', '.join(sorted(here))}")
    files = [ModelFile(name, here[name], read_artifact(here[name], name)) for name in names]
    columns = (record.settings.get(PLAN) or {}).get("names")
    return [*files, ModelFile(f"columns of {record.id}", stored, names=tuple(columns))] if columns else files


def overlooked(workspace: Workspace, path: Path) -> list[str]:
    """Files beside the model file `path` that fit before or after it: its owner's own program will need them."""
    beside = [file for file in sorted(path.parent.iterdir()) if file != path and file.is_file() and is_model_file(file)]
    if not path.is_file() or not beside or len(beside) > _MOST_BESIDE:
        return []
    try:
        files = [file for file in gather([path, *beside]) if file.facts is not None]
        if not any(_is_step(file) for file in files if file.path != path):
            return []
        parts = _parts(workspace, files, None, None, lambda _: None)
        mine = [part for part in parts if "model" not in part.roles or part.file == path.name]
        plan = find_plan(mine)
    except FitserveError:
        return []
    used = {file for file, _ in plan.parts.values()}
    return [] if path.name not in used else sorted(used - {path.name})


def _is_step(file: ModelFile) -> bool:
    module = (file.facts.class_module if file.facts else None) or ""
    return module.startswith(_STEP_MODULES)


def _parts(
    workspace: Workspace,
    files: Sequence[ModelFile],
    environment: Environment | str | None,
    code: Path | None,
    say: Any,
    more: Sequence[str] = (),
    script: Path | None = None,
) -> list[Part]:
    objects = [file for file in files if file.facts is not None]
    if not objects:
        seen = ", ".join(file.name for file in files) or "an empty folder"
        raise CannotCompose(f"there is no model in {seen}")
    python = _python(workspace, [file.facts for file in objects if file.facts], environment, code, say, more)
    names = merged(file.facts for file in objects if file.facts).main_names
    source = script_definitions(script, names).source if names and script is not None else ""
    facts = inspect_files(python, [(file.name, file.path) for file in objects], code, source)
    parts = [Part.from_facts(each) for each in facts]
    parts += [_names_part(file) for file in files if file.names is not None]
    parts += [_idle(file) for file in files if file.facts is None and file.names is None]
    _check_writers(objects, parts)
    return parts


def register_from_run(
    workspace: Workspace, run: Run, name: str, model_path: str | None, given: dict[str, Any]
) -> tuple[Model, str]:
    """Register what the script of `run` saved: one model, or several files that fit together; gives what it was made from.

    Args:
        model_path: the file; several with commas between them; None takes what there is.
        given: for `trainer.Run.register_model`.

    Raises:
        NoModelInRun · SeveralModelsInRun · ModelPathNotFound: there is not the one model.
        CannotCompose: the files do not fit together in one way.
    """
    if model_path is not None:
        files = {path: run.find_model(path) for path in (part.strip() for part in model_path.split(",")) if path}
    else:
        files = run.model_files()
    paths = list(files.values())
    if not paths or not (len(paths) > 1 or needs_composing(paths, Choices())):
        chosen = model_path or run.choose_model()
        return run.register_model(name, chosen, **given), chosen
    try:
        composed = compose(
            workspace,
            paths,
            Choices(),
            environment=run.environment_digest,
            code=run.snapshot_folder,
            script=run.training_script,
            say=click.echo,
        )
    except CannotCompose as problem:
        if model_path is not None:
            raise
        raise CannotCompose(
            f"{problem}\nchoose with --model-path: one of {', '.join(files)}, or several with commas"
        ) from None
    if composed.plan.is_trivial and composed.plan.parts[composed.plan.model][1] is None:
        file = composed.files[0]
        chosen = next(known for known, path in files.items() if path == file.path)
        return run.register_model(name, chosen, **given), chosen
    settings = {**(given.pop("settings", None) or {}), PLAN: composed.plan.to_json()}
    with as_folder(composed) as folder:
        model = run.register_model(name, folder=folder, settings=settings, **given)
    return model, ", ".join(file.name for file in composed.files)


@contextmanager
def as_folder(composed: Composed) -> Iterator[Path]:
    """A folder with the files of the plan, for registration."""
    with tempfile.TemporaryDirectory(prefix="fitserve-register-") as name:
        folder = Path(name)
        for file in composed.files:
            try:
                os.link(file.path.resolve(), folder / file.name)
            except OSError:
                shutil.copyfile(file.path, folder / file.name)
        yield folder


def _python(
    workspace: Workspace,
    facts: Sequence[ArtifactFacts],
    environment: Environment | str | None,
    code: Path | None,
    say: Any,
    more: Sequence[str] = (),
) -> Path:
    """An interpreter that reads the files: the one that will serve them."""
    modules = {path.stem for path in code.iterdir()} if code is not None else set()
    spec: Mapping[str, Any] | None = None
    if isinstance(environment, Environment):
        spec = environment.spec()
    elif environment is not None:
        spec = workspace.metadata.get_environment_by_digest(environment).spec
    record = ModelVersion(
        name="model",
        version=0,
        created_time=datetime.now(UTC),
        artifact=Artifact(digest="", size=0, kind="folder", name="model", format="folder"),
        resource_configuration=ResourceConfiguration(),
        environment="" if spec is not None else None,
        facts=merged(facts).to_json(),
        settings={WITH: list(more)} if more else {},
    )
    serving = decide(record, Own.here(), spec=spec, code=modules)
    if serving.spec is None:
        return Path(sys.executable)
    say(f"the files need {serving.name}: {serving.reason}")
    return interpreter_for(serving.spec, workspace.interpreters_dir, name=serving.name, progress=say).python


def _check_writers(files: Sequence[ModelFile], parts: Sequence[Part]) -> None:
    """Files of different releases: whoever reads all of them may serve them; else say who wrote what."""
    wrote = writers(files)
    broken = [part for part in parts if part.problem is not None]
    if len(wrote) > 1 and broken:
        told = "; ".join(f"scikit-learn {version}: {', '.join(names)}" for version, names in wrote.items())
        raise CannotCompose(f"no one scikit-learn reads all of the files ({told}): {broken[0].id}: {broken[0].problem}")


def _names_part(file: ModelFile) -> Part:
    return Part(
        id=file.name,
        file=file.name,
        key=None,
        class_name="JSON",
        module="",
        roles=("names",),
        values=file.names or (),
    )


def _idle(file: ModelFile) -> Part:
    return Part(id=file.name, file=file.name, key=None, class_name=file.path.suffix.lstrip(".").upper(), module="")
