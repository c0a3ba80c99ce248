"""`fitserve train`."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.options import pairs, resource_options, resources, strict_python_option
from gateway.cli.progress import status_line
from registry.environment import Environment
from registry.errors import EnvironmentNotFound, FitserveError, InvalidArgument, InvalidName
from registry.names import check_name
from registry.packages import package_of
from registry.requirements import normalized, package_name
from registry.workspace import Workspace
from trainer import Experiment, Run, ScriptRunConfig
from trainer.errors import ActivityFailed, NoModelInRun, SeveralModelsInRun
from trainer.script_imports import missing_imports
from trainer.snapshot import left_out

_LONGEST_FILE_NAME: Final = 255  # asking the system for a longer one is an error, not a no


def environment_from(file: str | None, workspace: Workspace, what: str = "--environment") -> Environment | None:
    """An Environment from a conda file (.yml), a pip requirements file, or by its name; "own" is fitserve's own Python.

    Args:
        what: the argument that names it.

    Raises:
        InvalidArgument: there is no such file and no such name.
    """
    if file is None:
        return None
    path = Path(file)
    if len(path.name) > _LONGEST_FILE_NAME or "\0" in file or not path.is_file():
        try:
            return Environment.get(workspace, file)
        except (EnvironmentNotFound, InvalidName):
            problem = (
                f"{file} is no file and no environment: give a conda .yml, a pip requirements file, a name, or own"
            )
            raise InvalidArgument(what, problem) from None
    return environment_from_file(path)


def script_path(script: str) -> Path:
    """Looked at before a workspace is made: a misspelt name leaves nothing behind.

    Raises:
        InvalidArgument: there is no such script.
    """
    path = Path(script)
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        hint = f"; in that folder: {', '.join(near[:8])}" if near else ""
        raise InvalidArgument("SCRIPT", f"{script} does not exist{hint}")
    return path


def run_script(
    workspace: Workspace,
    script: str,
    arguments: tuple[str, ...],
    environment: str | None,
    experiment: str | None,
    limits: tuple[float | None, float | None],
    tags: dict[str, str] | None = None,
    strict_python: bool = False,
    more: Sequence[str] = (),
) -> Run:
    """Submit `script` with its folder as the snapshot, stream its log, and return the completed run.

    Raises:
        InvalidArgument: there is no such script.
        trainer.errors.ActivityFailed: the script failed; the sentence says how.
    """
    path = script_path(script)
    config = ScriptRunConfig(
        source_directory=str(path.resolve().parent),
        script=path.name,
        arguments=list(arguments),
        environment=environment_of_script(path.resolve(), environment_from(environment, workspace), more),
        strict_python=strict_python,
        resource_configuration=resources(*limits) if limits != (None, None) else None,
    )
    ignore, stayed = left_out(path.resolve().parent)
    if stayed:
        several = f"{len(stayed):,} files and folders stay" if len(stayed) > 1 else "1 file stays"
        click.echo(f"{several} out because of {ignore}: {', '.join(stayed[:8])}{' …' if len(stayed) > 8 else ''}")
    run = Experiment(workspace, experiment or _experiment_name(path)).submit(config, tags=tags)
    try:
        with status_line(run):
            run.wait_for_completion(show_output=True)
    except ActivityFailed as failure:
        text = str(failure)
        missed = [name for name in stayed if name.rstrip("/") in text]
        if missed and "No such file" in text:
            hint = f"{', '.join(missed[:8])} stayed out of the run because of {ignore}: take it out of that file, or add an .amlignore"
            failure.args = (f"{text}\n{hint}", *failure.args[1:])
        raise
    except KeyboardInterrupt:
        run.cancel()
        raise
    return run


def environment_of_script(path: Path, named: Environment | None, more: Sequence[str]) -> Environment | None:
    """What a script is run in: the named environment; else fitserve's own Python, where that has all that the script imports; else
    what the requirements beside the script say.

    Args:
        more: requirements that are installed beside the rest.

    Raises:
        InvalidArgument: the script imports a package that nothing brings; the sentence names it.
    """
    if named is not None:
        for requirement in more:
            named.python.conda_dependencies.add_pip_package(requirement)
            named.on_top += [requirement] if named.on_top else []
        return named
    wished = {package_name(requirement) for requirement in more}
    missing = {
        module: package_of(module)
        for module in missing_imports(path.parent, path.name)
        if normalized(package_of(module) or module) not in wished and normalized(module) not in wished
    }
    if missing and (beside := _requirements_beside(path.parent, set(missing.values()))) is not None:
        click.echo(f"{path.name} imports {', '.join(missing)}: {beside.name} is taken, which asks for it")
        found = environment_from_file(beside)
        asked = [*found.spec()["pip"], *more]
        if not {"scikit-learn", "numpy"} & {package_name(requirement) for requirement in asked}:
            return Environment.on_own(
                found.name, asked
            )  # a list of what its owner added, not of all that the script needs
        for requirement in more:
            found.python.conda_dependencies.add_pip_package(requirement)
        return found
    if missing:
        known = " ".join(f"--with {package}" for package in missing.values() if package is not None)
        modules = ", ".join(missing)
        help_ = (
            f"add {known}"
            if known
            else "name the packages that have them with --with, or an environment with --environment"
        )
        raise InvalidArgument("SCRIPT", f"{path.name} imports {modules}, which fitserve's own Python has not: {help_}")
    return Environment.on_own("with", list(more)) if more else None


def _requirements_beside(folder: Path, packages: set[str | None]) -> Path | None:
    """The file beside a script that asks for one of `packages`."""
    for name in ("requirements.txt", "environment.yml", "environment.yaml", "conda.yml", "conda.yaml"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            pip = environment_from_file(path).spec()["pip"]
        except FitserveError:
            continue
        if packages & {package_name(requirement) for requirement in pip}:
            return path
    return None


def environment_from_file(path: Path) -> Environment:
    """An Environment from a conda file, or from pip requirements."""
    if path.suffix in {".yml", ".yaml"}:
        return Environment.from_conda_specification(path.stem, path)
    return Environment.from_pip_requirements(path.stem, path)


def with_option(command: Any) -> Any:
    """``--with``, as `train`, `up` and `register` have it."""
    return click.option(
        "--with", "more", multiple=True, metavar="REQUIREMENT", help="A package more, such as skrub==0.11; repeat it."
    )(command)


def script_options(command: Any) -> Any:
    """What `train` and `up` share about the script."""
    for option in (
        click.option(
            "--environment",
            "-e",
            metavar="FILE|NAME",
            help="Conda .yml, pip requirements, or a registered name to train (and serve) in.",
        ),
        strict_python_option,
        with_option,
        click.option("--arg", "args", multiple=True, metavar="TEXT", help="An argument for the script; repeat it."),
        click.option("--experiment", metavar="NAME", help="Experiment of the run. Default: the script's name."),
    ):
        command = option(command)
    return command


class ScriptCommand(click.Command):
    """A command whose SCRIPT has arguments of its own: an option that is not the command's may be meant for the script."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            message = f"No such option {error.option_name!r}; arguments for the script follow --"
            if not error.possibilities:
                start = next((at for at, word in enumerate(given) if word.startswith(error.option_name)), len(given))
                rest = [word for word in given[start:] if word != "--"] or [error.option_name]
                example = [*ctx.command_path.split(), *(given[:start] or ["SCRIPT"]), "--", *rest]
                message += f", as in: {shlex.join(example)}"
            raise click.NoSuchOption(error.option_name, message, error.possibilities, ctx) from None


@click.command(cls=ScriptCommand)
@click.argument("script")
@click.argument("script_args", nargs=-1)
@script_options
@resource_options(what="the training process")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag of the run; repeat it.")
@click.option(
    "--register", metavar="NAME", help="Register the model that the script saves under this name, without serving it."
)
@click.option(
    "--model-path", metavar="PATH", help="With --register: the file that is the model; several with commas between."
)
@click.pass_obj
def train(
    obj: dict[str, Any],
    /,
    script: str,
    script_args: tuple[str, ...],
    **given: Any,
) -> None:
    """Run SCRIPT in a copy of its folder; keep its metrics, ./outputs and ./logs.

    Arguments for the script follow `--`: fitserve train train.py -- --kernel rbf
    """
    script_path(script)
    if given["register"] is not None:
        check_name("model", given["register"])
    with Workspace.open(obj["workspace"]) as workspace:
        run = run_script(
            workspace,
            script,
            given["args"] + script_args,
            given["environment"],
            given["experiment"],
            (given["cpu"], given["memory"]),
            pairs(given["tags"], "--tag"),
            given["strict_python"],
            given["more"],
        )
        for name, value in run.get_metrics().items():
            click.echo(f"{name}: {value}")
        files = [name for name in run.get_file_names() if name.startswith("outputs/")]
        click.echo(f"\nfiles: {', '.join(files) or 'none in ./outputs'}")
        if given["register"] is None:
            click.echo(how_to_register(run))
            return
        _register(workspace, run, given["register"], given["model_path"])


def _register(workspace: Workspace, run: Run, name: str, model_path: str | None) -> None:
    from gateway.cli.compose import register_from_run
    from gateway.cli.models import announce
    from gateway.cli.up import find_sample

    given = {"model_framework": "ScikitLearn", "sample": find_sample(run, workspace)}
    model, made_from = register_from_run(workspace, run, name, model_path, given)
    click.echo(f"registered {model.id} from {made_from}")
    announce(workspace, model.name, model.version)


def how_to_register(run: Run, what: str = "the model") -> str:
    """The command that registers what the script saved; where the file cannot be chosen, also why."""
    try:
        file, problem = shlex.quote(run.choose_model()), ""
    except (NoModelInRun, SeveralModelsInRun) as error:
        file, problem = "FILE", f"\nnote: {error}"
    return f"register {what} with: fitserve register --run {run.id} {file} --name NAME{problem}"


def _experiment_name(script: Path) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in script.stem).strip("-") or "script"
