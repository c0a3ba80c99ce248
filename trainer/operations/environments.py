"""Operations on environments. The shim keeps a plain description, which is interpreted here."""

from typing import Final

from registry.environment import CondaDependencies, Environment
from registry.records import Json
from trainer.open_workspaces import OpenWorkspaces
from trainer.rpc import Operation


def environment_of(description: Json) -> Environment | None:
    """An Environment from the shim's description; None stays None."""
    if description is None:
        return None
    environment = Environment(description["name"])
    environment.python.user_managed_dependencies = bool(description["user_managed"])
    environment.python.interpreter_path = description.get("interpreter_path") or "python"
    environment.environment_variables = dict(description["variables"])
    wanted: CondaDependencies = environment.python.conda_dependencies
    for package in description["conda"]:
        wanted.add_conda_package(package)
    if description["python"]:
        wanted.set_python_version(description["python"])
    for package in description["pip"]:
        wanted.add_pip_package(package)
    for option in description["pip_options"]:
        wanted.set_pip_option(option)
    for channel in description.get("channels") or ():  # missing in descriptions saved by an older shim
        wanted.add_channel(channel)
    return environment


def description_of(environment: Environment) -> dict[str, Json]:
    wanted = environment.python.conda_dependencies
    return {
        "name": environment.name,
        "version": environment.version,
        "python": wanted.python_version,
        "conda": wanted.conda_packages,
        "pip": wanted.pip_packages,
        "pip_options": wanted.pip_options,
        "channels": wanted.conda_channels,
        "variables": dict(environment.environment_variables),
        "user_managed": environment.python.user_managed_dependencies,
        "interpreter_path": environment.python.interpreter_path,
    }


def from_conda(_: OpenWorkspaces, name: str, path: str) -> Json:
    return description_of(Environment.from_conda_specification(name, path))


def from_pip(_: OpenWorkspaces, name: str, path: str) -> Json:
    return description_of(Environment.from_pip_requirements(name, path))


def get(workspaces: OpenWorkspaces, workspace: Json, name: str, version: Json, label: str | None) -> Json:
    return description_of(Environment.get(workspaces.get(workspace), name, version, label))


def list_all(workspaces: OpenWorkspaces, workspace: Json) -> Json:
    return {name: description_of(each) for name, each in Environment.list(workspaces.get(workspace)).items()}


def register(workspaces: OpenWorkspaces, workspace: Json, environment: Json) -> Json:
    made = environment_of(environment)
    assert made is not None
    return description_of(made.register(workspaces.get(workspace)))


def store(workspaces: OpenWorkspaces, workspace: Json, environment: Json) -> Json:
    """Store it without registering its name; returns the digest."""
    made = environment_of(environment)
    assert made is not None
    return workspaces.get(workspace).metadata.put_environment(made.name, made.digest, made.spec()).digest


def build(workspaces: OpenWorkspaces, workspace: Json, environment: Json) -> Json:
    """Build its interpreter, printing the progress."""
    from registry.interpreters import interpreter_for  # late: takes a tenth of a second, which other calls save

    made = environment_of(environment)
    assert made is not None
    ready = interpreter_for(made.spec(), workspaces.get(workspace).interpreters_dir, progress=print, name=made.name)
    return {"python": str(ready.python), "version": ready.version, "frozen": list(ready.frozen)}


OPERATIONS: Final[dict[str, Operation]] = {
    "environment.from_conda": from_conda,
    "environment.from_pip": from_pip,
    "environment.get": get,
    "environment.list": list_all,
    "environment.register": register,
    "environment.store": store,
    "environment.build": build,
}
