"""Environment: a named description of a Python and its packages, in Azure's shape.

What is installed is decided by `spec()`, a canonical JSON document; its SHA-256 is the environment's identity.
`registry.interpreters` makes a Python from it.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry import requirements
from registry.conda import conda_requirement, parse_conda, read_conda_file
from registry.curated import CURATED, find_curated
from registry.errors import EnvironmentNotFound, InvalidArgument, shown
from registry.names import check_name
from registry.overlay import OVERLAY, own_releases
from registry.records import EnvironmentRecord, Json

if TYPE_CHECKING:
    from registry.workspace import Workspace

#: Names the gateway's own interpreter where an environment can be named; its spec asks for nothing.
OWN_NAME: Final = "own"
_RESERVED: Final = ("azureml", "microsoft")


def digest_of(spec: Mapping[str, Json]) -> str:
    """SHA-256 of the canonical JSON of a spec."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class CondaDependencies:
    """Python version, conda packages and pip packages, with Azure's methods. Nothing is checked before `spec()`."""

    def __init__(self) -> None:
        self.python_version: str | None = None
        self._conda: list[str] = []
        self._pip: list[str] = []
        self._pip_options: list[str] = []
        self._channels: list[str] = []

    @classmethod
    def create(
        cls,
        pip_indexurl: str | None = None,
        pip_packages: list[str] | None = None,
        conda_packages: list[str] | None = None,
        python_version: str | None = None,
        pin_sdk_version: bool = True,  # noqa: ARG003 the SDK is our shim
    ) -> "CondaDependencies":
        """Azure's `python_version` default, a 3.10 of theirs, is left open here: None takes fitserve's own Python."""
        made = cls()
        made.python_version = python_version
        made._pip = list(pip_packages or [])
        made._conda = list(conda_packages or [])
        if pip_indexurl is not None:
            made.set_pip_index_url(pip_indexurl)
        return made

    @property
    def conda_packages(self) -> list[str]:
        return list(self._conda)

    @property
    def conda_channels(self) -> list[str]:
        return list(self._channels)

    @property
    def pip_packages(self) -> list[str]:
        return list(self._pip)

    @property
    def pip_options(self) -> list[str]:
        return list(self._pip_options)

    def add_pip_package(self, pip_package: str) -> None:
        if pip_package not in self._pip:
            self._pip.append(pip_package)

    def remove_pip_package(self, pip_package: str) -> None:
        self._pip = [p for p in self._pip if p != pip_package]

    def add_conda_package(self, conda_package: str) -> None:
        name, version = conda_requirement(conda_package, "conda package")
        if name == "python":
            self.set_python_version(version.removeprefix("==").removesuffix(".*"))
        elif conda_package not in self._conda:
            self._conda.append(conda_package)

    def remove_conda_package(self, conda_package: str) -> None:
        self._conda = [p for p in self._conda if p != conda_package]

    def add_channel(self, channel: str) -> None:
        """Where conda looks, where conda is used; the first one first."""
        if channel not in self._channels:
            self._channels.append(channel)

    def remove_channel(self, channel: str) -> None:
        self._channels = [each for each in self._channels if each != channel]

    def set_python_version(self, version: str) -> None:
        self.python_version = version

    def set_pip_index_url(self, index_url: str) -> None:
        self._pip_options = [option for option in self._pip_options if not option.startswith("--index-url")]
        self._pip_options.append(f"--index-url {index_url}")

    def set_pip_option(self, pip_option: str) -> None:
        if pip_option not in self._pip_options:
            self._pip_options.append(pip_option)


#: What an environment that is not said in full begins with.
_BASE: Final = ("scikit-learn", "numpy", "scipy", "pandas", "joblib")


class PythonSection:
    """`environment.python`. With `user_managed_dependencies` Azure installs nothing; so do we. A run then takes the Python at
    `interpreter_path`, where that is one on this machine."""

    def __init__(self) -> None:
        self.user_managed_dependencies = False
        self.interpreter_path = "python"
        self.conda_dependencies = CondaDependencies()

    @property
    def own_interpreter(self) -> str | None:
        """Absolute path of the Python that its user takes care of; None where it is another's, or is not on this machine."""
        if not self.user_managed_dependencies or os.sep not in self.interpreter_path:
            return None
        found = shutil.which(self.interpreter_path)
        return None if found is None else os.path.abspath(found)


class DockerSection:
    """`environment.docker`. Its fields are kept and mean nothing: fitserve runs processes, not containers."""

    def __init__(self) -> None:
        self.enabled = False
        self.base_image: str | None = None
        self.base_dockerfile: str | None = None
        self.base_image_registry: Any = None
        self.arguments: list[str] = []
        self.shm_size = "2g"


class Environment:
    """A named description of a Python and its packages.

    Args:
        name: as registered; names that begin with "AzureML" or "Microsoft" are those of the curated table.

    Raises:
        InvalidName: it is not a name.
    """

    def __init__(self, name: str) -> None:
        self.name = check_name("environment", name)
        self.version: str | None = None
        self.python = PythonSection()
        self.docker = DockerSection()
        self.environment_variables: dict[str, str] = {}
        self.inferencing_stack_version: str | None = None
        self.on_top: list[
            str
        ] = []  # ours: where these go together with fitserve's own packages, only they are installed

    def __repr__(self) -> str:
        return f"Environment(name={self.name!r}, version={self.version!r}, spec={self.spec()!r})"

    def spec(self) -> dict[str, Json]:
        """The canonical description: equal specs make equal interpreters.

        ``{"python": version | range | None, "pip": [requirement, …], "variables": {…}}`` and, where there are any,
        ``"options"`` for the installer, ``"shimmed"`` requirements that the azureml shim stands in for, and of a conda
        environment: its ``"conda"`` entries and ``"channels"``, and the ``"skipped"`` packages that exist in conda only.
        ``"pip"`` is all that is needed without conda.

        Raises:
            InvalidArgument: an entry is not a requirement; the sentence names it.
        """
        variables = {str(key): str(value) for key, value in sorted(self.environment_variables.items())}
        if self.python.user_managed_dependencies:
            return {"python": None, "pip": [], "variables": variables}
        wanted = self.python.conda_dependencies
        conda = parse_conda({"dependencies": wanted.conda_packages}, self.name)
        found = requirements.parse_lines([*conda.packages, *wanted.pip_packages, *wanted.pip_options], self.name)
        spec: dict[str, Json] = {
            "python": _checked_python(wanted.python_version or conda.python, self.name),
            "pip": list(found.packages),
            "variables": variables,
        }
        for key, value in (("options", found.options), ("conda", conda.entries), ("channels", wanted.conda_channels)):
            if value:
                spec[key] = list(value)
        for key, value in (("shimmed", found.shimmed), ("skipped", conda.skipped)):
            if value:
                spec[key] = sorted(set(value))
        if self.on_top:
            spec[OVERLAY] = list(self.on_top)
        return spec

    @property
    def digest(self) -> str:
        """SHA-256 of `spec()`; the name is not part of it."""
        return digest_of(self.spec())

    @classmethod
    def from_spec(cls, name: str, spec: Mapping[str, Json], version: int | str | None = None) -> "Environment":
        """The environment whose `spec()` is `spec`."""
        environment = cls(name)
        environment.version = None if version is None else str(version)
        environment.environment_variables = dict(spec.get("variables") or {})
        wanted = environment.python.conda_dependencies
        wanted.python_version = spec.get("python")
        wanted._conda = list(spec.get("conda") or spec.get("skipped") or [])
        wanted._channels = list(spec.get("channels") or [])
        brought = requirements.parse_lines(parse_conda({"dependencies": wanted._conda}, name).packages, name).packages
        wanted._pip = [line for line in spec.get("pip") or [] if line not in brought] + list(spec.get("shimmed") or [])
        wanted._pip_options = list(spec.get("options") or [])
        environment.on_top = list(spec.get(OVERLAY) or [])
        return environment

    @classmethod
    def on_own(cls, name: str, wanted: Sequence[str]) -> "Environment":
        """Fitserve's own packages and `wanted` on top of them.

        Raises:
            InvalidArgument: one of them is not a requirement.
        """
        made = cls(name)
        own = own_releases()
        named = {requirements.package_name(requirement) for requirement in wanted}
        made.python.conda_dependencies._pip = [
            f"{base}=={own[base]}" for base in _BASE if base in own and base not in named
        ]
        made.python.conda_dependencies._pip += list(wanted)
        made.on_top = list(wanted)
        return made

    @classmethod
    def from_record(cls, record: EnvironmentRecord) -> "Environment":
        return cls.from_spec(record.name, record.spec, record.version)

    @classmethod
    def from_conda_specification(cls, name: str, file_path: str | Path) -> "Environment":
        """From a conda environment file.

        Raises:
            InvalidArgument: the file is missing or not understood; the sentence names the entry.
        """
        path = Path(file_path)
        conda = read_conda_file(path)
        found = requirements.parse_lines([*conda.packages, *conda.pip_lines], path.name)
        return cls.from_spec(
            name,
            {
                "python": _checked_python(conda.python, path.name),
                "pip": list(found.packages),
                "variables": conda.variables,
                "conda": list(conda.entries),
                "channels": list(conda.channels),
                "options": list(found.options),
                "shimmed": list(found.shimmed),
                "skipped": list(conda.skipped),
            },
        )

    @classmethod
    def from_pip_requirements(cls, name: str, file_path: str | Path, pip_version: str | None = None) -> "Environment":
        """From a requirements file, those that it includes by ``-r`` among it. `pip_version` is accepted and unused.

        Raises:
            InvalidArgument: the file is missing or a line is not taken; the sentence names it.
        """
        del pip_version
        found = requirements.read_file(Path(file_path))
        return cls.from_spec(
            name, {"pip": list(found.packages), "options": list(found.options), "shimmed": list(found.shimmed)}
        )

    @staticmethod
    def get(
        workspace: "Workspace", name: str, version: int | str | None = None, label: str | None = None
    ) -> "Environment":
        """A curated environment of Azure's, else one that was registered here; the latest version when none is given.
        "own" is fitserve's own Python.

        Raises:
            EnvironmentNotFound: neither knows it.
            InvalidArgument: `version` is not a number, or a label other than "latest" is asked for.
        """
        if label not in (None, "latest"):
            raise InvalidArgument("label", f"{shown(label)} is not kept here; there is only 'latest'")
        if (curated := find_curated(name)) is not None:
            return _curated(*curated)
        if name == OWN_NAME:
            return Environment(OWN_NAME)
        if name.lower().startswith(_RESERVED):
            raise EnvironmentNotFound(name, known=CURATED)
        return Environment.from_record(workspace.metadata.get_environment(name, _version_number(version)))

    @staticmethod
    def list(workspace: "Workspace") -> dict[str, "Environment"]:
        """Name → latest version of those registered, and the curated ones."""
        found = {name: _curated(name, name) for name in CURATED}
        for record in workspace.metadata.list_environments():
            found[record.name] = Environment.from_record(record)
        return found

    def register(self, workspace: "Workspace") -> "Environment":
        """Keep it under its name; the same description is the same version. Gives itself with `version` set.

        Raises:
            InvalidArgument: the name is reserved for curated environments.
        """
        if self.name.lower().startswith(_RESERVED):
            raise InvalidArgument("name", f"{self.name!r}: names that begin with AzureML or Microsoft are reserved")
        if self.name == OWN_NAME:
            raise InvalidArgument("name", f"{OWN_NAME!r} is the name of fitserve's own Python")
        spec = self.spec()
        self.version = str(workspace.metadata.put_environment(self.name, digest_of(spec), spec).version)
        return self

    def clone(self, new_name: str) -> "Environment":
        """The same description under another name, not registered."""
        return Environment.from_spec(new_name, self.spec())


def _curated(name: str, of: str) -> Environment:
    python, packages = CURATED[of]
    return Environment.from_spec(name, {"python": python, "pip": [*packages], "shimmed": ["azureml-defaults"]}, 1)


def _checked_python(version: object, source: str) -> str | None:
    from registry.pythons import PythonRange

    if version is None or version == "":
        return None
    PythonRange.parse(str(version), source)
    return str(version)


def _version_number(version: int | str | None) -> int | None:
    try:
        return None if version is None else int(version)
    except ValueError:
        raise InvalidArgument("version", f"{shown(version)} is not a number") from None
