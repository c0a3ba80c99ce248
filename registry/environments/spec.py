"""What an environment asks for, as a canonical JSON document whose SHA-256 is the environment's identity.

``{"python": version | range | None, "pip": [requirement, …], "variables": {…}}`` and, where there are any, ``"options"`` for the
installer, ``"shimmed"`` requirements that the azureml shim stands in for, ``"overlay"`` requirements that may go on top of fitserve's
own packages, and of a conda environment its ``"conda"`` entries and ``"channels"``, and the ``"skipped"`` packages that exist in conda
only. ``"pip"`` is all that is needed without conda. `registry.environments.interpreters` builds a Python from it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from registry.environments import requirements
from registry.environments.conda import parse_conda
from registry.environments.curated import CURATED, find_curated
from registry.environments.overlay import OVERLAY
from registry.environments.pythons import PythonRange
from registry.errors import EnvironmentNotFound
from registry.names import is_digest
from registry.records import EnvironmentRecord, Json
from registry.stores.base import MetadataStore

Spec = Mapping[str, Json]

#: Names the gateway's own interpreter where an environment can be named; its spec asks for nothing.
OWN_NAME: Final = "own"
RESERVED: Final = ("azureml", "microsoft")


class HasSpec(Protocol):
    """An environment that can be stored, such as `registry.Environment`."""

    name: str

    def spec(self) -> dict[str, Json]: ...


def digest_of(spec: Spec) -> str:
    """SHA-256 of the canonical JSON of a spec."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def is_own(spec: Spec | None) -> bool:
    """Whether it asks for nothing, so that fitserve's own Python meets it."""
    return not spec or not (spec.get("python") or spec.get("pip"))


def make_spec(
    source: str,
    *,
    python: str | None = None,
    pip: Iterable[str] = (),
    conda: Sequence[str] = (),
    channels: Sequence[str] = (),
    variables: Mapping[str, object] | None = None,
    on_top: Sequence[str] = (),
) -> dict[str, Json]:
    """The spec of these entries, equal for equal needs.

    Args:
        source: what errors name: a file, or an environment.
        pip: requirement lines and options, as in a requirements file.
        conda: match specifications, as in a conda file.
        on_top: where these go together with fitserve's own packages, only they are installed.

    Raises:
        InvalidArgument: an entry is not understood; the sentence names it.
    """
    brought = parse_conda({"dependencies": list(conda)}, source)
    found = requirements.parse_lines([*brought.packages, *pip], source)
    python = python or brought.python
    if python:
        PythonRange.parse(python, source)
    spec: dict[str, Json] = {
        "python": python or None,
        "pip": list(found.packages),
        "variables": {str(key): str(value) for key, value in sorted((variables or {}).items())},
    }
    more: dict[str, Iterable[str]] = {
        "options": found.options,
        "conda": brought.entries,
        "channels": channels,
        "shimmed": found.shimmed,
        "skipped": sorted(set(brought.skipped)),
        OVERLAY: on_top,
    }
    return spec | {key: list(values) for key, values in more.items() if values}


def find(metadata: MetadataStore, name: str, version: int | None = None) -> tuple[str, Spec, int | None]:
    """Name, spec and version of a curated environment, of fitserve's own Python ("own"), or of one that was registered.

    Raises:
        EnvironmentNotFound
    """
    if (curated := find_curated(name)) is not None:
        plain, of = curated
        return plain, curated_spec(of), 1
    if name == OWN_NAME:
        return name, make_spec(name), None
    if name.lower().startswith(RESERVED):
        raise EnvironmentNotFound(name, known=CURATED)
    record = metadata.get_environment(name, version)
    return record.name, record.spec, record.version


def curated_spec(name: str) -> dict[str, Json]:
    python, packages = CURATED[name]
    return make_spec(name, python=python, pip=[*packages, "azureml-defaults"])


def put(metadata: MetadataStore, name: str, spec: Spec) -> EnvironmentRecord:
    """Store it; the same spec under the same name is the same version."""
    return metadata.put_environment(name, digest_of(spec), spec)


def digest_in(metadata: MetadataStore, environment: HasSpec | str | None) -> str | None:
    """The digest of an environment that is given, or named by its name or digest; it is stored where it was not.

    Raises:
        EnvironmentNotFound: the workspace does not know it.
    """
    if environment is None:
        return None
    if isinstance(environment, str) and is_digest(environment):
        return metadata.get_environment_by_digest(environment).digest
    name, spec, _ = (
        find(metadata, environment) if isinstance(environment, str) else (environment.name, environment.spec(), None)
    )
    return put(metadata, name, spec).digest
