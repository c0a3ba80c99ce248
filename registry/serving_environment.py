"""Which Python and which releases a model version is served with, decided from facts, first that applies:

1. an environment that was named at registration (or later), the gateway's own among them (`OWN_NAME`);
2. registered from a run: what was installed in that run's environment;
3. the artifact itself: the scikit-learn that wrote it, its numpy's major version, the least Python, the packages it names;
4. the version that was declared;
5. the gateway's own, with a warning.

Where 3 or 4 ask for what the gateway's own interpreter has, it is taken and nothing is built. Nothing here looks at the
machine: `registry.interpreters` makes what is decided.
"""

import importlib.metadata
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from registry.environment import OWN_NAME, Environment
from registry.interpreters import Frozen, numpy_bound
from registry.overlay import OVERLAY
from registry.packages import SAME_MODULE, package_of, scipy_bound
from registry.pythons import wheels_for
from registry.records import TRAINED_IN, Json, ModelVersion
from registry.requirements import is_met, normalized, package_name, pinned_version

Rule = Literal["named", "run", "artifact", "declared", "own"]

#: The setting of a version that names requirements beside what its file says.
WITH: Final = "with"
_VERSION: Final = re.compile(r"\d+\.\d+(\.\d+)?((a|b|rc|\.post)\d+)?")
_LOADABLE: Final = frozenset({"pickle", "joblib", "folder", "skops"})
_BASE: Final = ("scikit-learn", "numpy", "scipy", "pandas")


@dataclass(frozen=True)
class Own:
    """The gateway's own interpreter: the minor version of its Python, and its releases by normalized name."""

    python: tuple[int, int]
    releases: Mapping[str, str]

    @classmethod
    def here(cls) -> "Own":
        """Of this process; takes some ten milliseconds."""
        found = {normalized(d.name): d.version for d in importlib.metadata.distributions() if d.name}
        return cls(sys.version_info[:2], found)

    @property
    def scikit_learn(self) -> str | None:
        return self.releases.get("scikit-learn")

    @property
    def numpy_major(self) -> int | None:
        numpy = self.releases.get("numpy")
        return None if numpy is None else int(numpy.partition(".")[0])


@dataclass(frozen=True)
class ServingEnvironment:
    """What was decided. `spec` is None for the gateway's own interpreter; `frozen` are the exact releases where they are known.
    `reason` says which rule applied and why; `warnings` are what a person should know. `strict`: no newer Python instead."""

    rule: Rule
    reason: str
    spec: Mapping[str, Json] | None = None
    frozen: Frozen | None = None
    warnings: tuple[str, ...] = ()
    name: str = "the gateway's own"
    strict: bool = False
    digest: str | None = None  # of the environment that the version names

    @property
    def key(self) -> str | None:
        """The same for equal needs; None for the gateway's own."""
        if self.spec is None:
            return None
        releases = () if self.frozen is None else (self.frozen.python, *self.frozen.releases)
        return repr((sorted(self.spec.items(), key=str), releases, self.strict))

    def to_json(self) -> dict[str, Json]:
        """For people; the spec without variables, which may hold secrets."""
        shown = {} if self.spec is None else {k: v for k, v in self.spec.items() if k in ("python", "pip") and v}
        return {"rule": self.rule, "reason": self.reason, "name": self.name, "spec": shown, "digest": self.digest}


def decide(
    record: ModelVersion, own: Own, *, spec: Mapping[str, Json] | None = None, code: Collection[str] = ()
) -> ServingEnvironment:
    """
    Args:
        spec: of the environment that `record.environment` names.
        code: top-level modules that travel with the version, which are no packages.
    """
    facts = _Facts(record, own, code)
    strict = bool(record.settings.get("strict_python"))
    if record.environment is not None and spec is not None:
        return replace(_named(record, facts, spec, strict), digest=record.environment)
    if facts.artifact.get("format") not in _LOADABLE:
        return ServingEnvironment("own", f"a file of format {facts.artifact.get('format')} needs none")
    if facts.written_by is not None:
        told = f"the file was written by scikit-learn {facts.written_by}"
        return facts.served("artifact", facts.written_by, told, strict)
    if facts.missing:
        told = f"the file names {', '.join(facts.missing)} and no scikit-learn"
        return facts.served("artifact", own.scikit_learn, told, strict)
    declared = record.framework_version if record.framework in (None, "ScikitLearn") else None
    if declared is not None and _VERSION.fullmatch(declared):
        told = f"scikit-learn {declared} was declared, and the file does not say what wrote it"
        return facts.served("declared", declared, told, strict)
    unknown = "neither the file nor its registration says which scikit-learn it was made with"
    return ServingEnvironment(
        "own", unknown, warnings=(f"{unknown}; it is served with the gateway's own", *facts.notes())
    )


def _named(record: ModelVersion, facts: "_Facts", spec: Mapping[str, Json], strict: bool) -> ServingEnvironment:
    """Rules 1 and 2."""
    trained: Mapping[str, Any] = record.facts.get(TRAINED_IN) or {}
    of_run = trained.get("environment") == record.environment and bool(trained.get("frozen"))
    if not (spec.get("python") or spec.get("pip")):
        own = facts.own.scikit_learn
        return ServingEnvironment(
            "named", "the gateway's own was asked for", warnings=facts.notes(own), name=OWN_NAME, strict=strict
        )
    if not of_run:
        pins = [pinned_version(r) for r in spec.get("pip") or () if package_name(r) == "scikit-learn"]
        notes = facts.notes(pins[0] if pins else None)
        return ServingEnvironment("named", "it was named at registration", spec, None, notes, _name(spec), strict)
    frozen = Frozen(str(trained["python"]), tuple(trained["frozen"]))
    notes = (*trained.get("warnings", ()), *facts.notes(frozen.version_of("scikit-learn")))
    reason = f"run {record.run_id} was trained in it"
    return ServingEnvironment("run", reason, spec, frozen, notes, str(trained.get("name") or _name(spec)), strict)


class _Facts:
    """What is known of one version beside its environment."""

    def __init__(self, record: ModelVersion, own: Own, code: Collection[str]) -> None:
        self.own = own
        self.artifact = record.facts
        self.written_by: str | None = record.facts.get("sklearn_version")
        self.declared = record.framework_version if record.framework in (None, "ScikitLearn") else None
        modules = [str(m) for m in record.facts.get("modules") or () if m not in code]
        known = {module: package_of(module) for module in modules}
        known |= {m: normalized(m) for m, p in known.items() if p is None and normalized(m) in own.releases}
        self.packages: Sequence[str] = sorted({p for p in known.values() if p is not None})
        self.wishes: Sequence[str] = record.settings.get(WITH) or ()
        self.unknown = sorted(module for module, package in known.items() if package is None)

    @property
    def missing(self) -> list[str]:
        """Packages that the file names and the gateway's own interpreter lacks."""
        lacking = [package for package in self.packages if not self._has(package)]
        wished = {package_name(wish) for wish in self.wishes}
        unmet = [wish for wish in self.wishes if not is_met(wish, self.own.releases)]
        return [*(package for package in lacking if normalized(package) not in wished), *unmet]

    def _has(self, package: str) -> bool:
        releases = self.own.releases
        return normalized(package) in releases or normalized(SAME_MODULE.get(package, package)) in releases

    def served(self, rule: Rule, version: str | None, told: str, strict: bool) -> ServingEnvironment:
        """Rules 3 and 4, with that scikit-learn."""
        if version is not None and not _VERSION.fullmatch(version):
            note = f"scikit-learn {version} is no release; the gateway's own {self.own.scikit_learn} serves it"
            return ServingEnvironment(rule, told, warnings=(note, *self.notes()), strict=strict)
        if self._own_will_do(version):
            return ServingEnvironment(rule, f"{told}, which the gateway's own Python has", warnings=self.notes(version))
        spec = self._spec(version)
        if self._fits_own(version) and self.own.python == sys.version_info[:2]:
            spec[OVERLAY] = list(self.missing)
        return ServingEnvironment(rule, told, spec, None, self.notes(version), _name(spec), strict)

    def notes(self, served_with: str | None = None) -> tuple[str, ...]:
        """Where what is said, what is so and what serves differ."""
        found = []
        if self.declared and self.written_by and not same_version(self.declared, self.written_by):
            found.append(f"scikit-learn {self.declared} is declared, but {self.written_by} wrote the file")
        if served_with and self.written_by and not same_version(served_with, self.written_by):
            found.append(f"scikit-learn {self.written_by} wrote the file, and {served_with} serves it")
        if self.unknown:
            several = "packages" if len(self.unknown) > 1 else "package"
            found.append(
                f"the file names the unknown {several} {', '.join(self.unknown)}: if it does not load, register it with "
                "--environment or --code"
            )
        return tuple(found)

    def _own_will_do(self, version: str | None) -> bool:
        return self._fits_own(version) and not self.missing

    def _fits_own(self, version: str | None) -> bool:
        """Whether the gateway's own releases are those that the file needs; it may need packages beside them."""
        least = tuple(self.artifact.get("min_python") or (3, 0))
        numpy = self.artifact.get("numpy_major")
        return (
            (version is None or same_version(version, self.own.scikit_learn))
            and numpy in (None, self.own.numpy_major)
            and self.own.python >= least
        )

    def _spec(self, version: str | None) -> dict[str, Json]:
        packages = {name: name for name in (*_BASE, *self.packages)}
        packages.update((package_name(wish), wish) for wish in self.wishes)
        if version is not None:
            packages["scikit-learn"] = f"scikit-learn=={version}" + (".*" if version.count(".") < 2 else "")
            packages["scipy"] = scipy_bound(version)
        packages["numpy"] = _numpy(version, self.artifact.get("numpy_major"))
        environment = Environment(OWN_NAME)
        wanted = environment.python.conda_dependencies
        wanted.python_version = _python(version, self.artifact.get("min_python"))
        for requirement in packages.values():
            wanted.add_pip_package(requirement)
        return environment.spec()


def same_version(one: str, other: str | None) -> bool:
    """``1.5`` is any 1.5; otherwise the numbers must be equal."""
    if other is None:
        return False
    if one.count(".") < 2:
        return other.split(".")[:2] == one.split(".")[:2]
    return one == other


def _numpy(scikit_learn: str | None, major: int | None) -> str:
    bound = None if scikit_learn is None else numpy_bound(scikit_learn)
    if major is None or major > 2:
        return bound or "numpy"
    return "numpy>=2" if major == 2 else bound or "numpy<2"


def _python(scikit_learn: str | None, least: Sequence[int] | None) -> str | None:
    minors = wheels_for(scikit_learn)
    if minors is None:
        return None
    first = max(minors[0], least[1] if least else 0)
    return f">=3.{first},<3.{max(minors[1], first) + 1}"


def _name(spec: Mapping[str, Json]) -> str:
    """What to call an environment that has no name of its own."""
    pins = [r for r in spec.get("pip") or () if package_name(r) == "scikit-learn"]
    return pins[0].replace("==", " ") if pins else "environment"
