"""The build context: a folder that a container builder makes an image of, on any machine.

The same contents give the same bytes, also the same times and modes of files, wherever and whenever it is written.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from gateway.package import manifest, written
from gateway.package.contents import Contents
from gateway.package.errors import FolderInUse
from gateway.package.patterns import checked
from registry.records import Json
from registry.sdk.workspace import Workspace
from registry.stores import disk

_KUBERNETES: Final = "kubernetes"
KEY_FILE: Final = (
    f"{_KUBERNETES}/key.txt"  # the operator's own, kept when a package is written anew; never in the image
)
_TIME: Final = 0  # of every file: the start of 1970
IMAGE_PYTHON: Final = "3.11"  # of fitserve's own image
_TEMPLATE: Final = """\
# Made by `fitserve package`: {models}.
ARG FITSERVE_IMAGE={base}
{stages}FROM ${{FITSERVE_IMAGE}}
USER 0:0
{pythons}
# Where the image's own releases are not those of the environments, an interpreter with them is built here, once.
COPY --chown=0:0 . /package
ENV UV_PYTHON_INSTALL_DIR=/package/python
RUN ["fitserve", "run-package", "--prepare", "/package"]

USER 10001:0
LABEL org.opencontainers.image.title="{title}" \\
      org.opencontainers.image.version="{title_version}" \\
      io.fitserve.models="{models}"
CMD ["run-package", "/package"]
"""
# Another Python than the image's comes from the official image of that Python, on the same Debian.
_ARGUMENT: Final = "ARG PYTHON_{word}_IMAGE=docker.io/library/python:{python}-slim-bookworm\n"
_STAGE: Final = "FROM ${{PYTHON_{word}_IMAGE}} AS python-{python}\n"
_COPY: Final = "COPY --from=python-{python} /usr/local /opt/python/{python}\n"
_README: Final = """\
# {title}

Made by `fitserve package`: {models}.

    docker build -t IMAGE .
    docker run -p 8080:8080 -e FITSERVE_KEY=... IMAGE

It asks for one key: `FITSERVE_KEY`, or the first line of the file `FITSERVE_KEY_FILE`; without either one is made at the start
and shown that once. That key opens every model and every service. Keys that services had where they were packaged stay behind:
neither they nor their hashes are in here, so what callers send has to be exchanged. In Kubernetes the key is the Secret
that `kubernetes/key.txt` becomes.
"""


def default_base() -> str:
    """The image of this very release of fitserve."""
    return f"localhost/fitserve:{checked('a version of fitserve', version('fitserve'))}"


def write(
    workspace: Workspace,
    contents: Contents,
    folder: Path,
    *,
    base: str | None = None,
    manifests: Mapping[str, str] | None = None,
) -> Path:
    """Write the context to `folder`, in place of an earlier package there; complete or not at all.

    What others added to an earlier package, or changed in it, is never deleted: such a folder is refused.

    Args:
        base: the image of fitserve that it is built on.
        manifests: what stands in its folder ``kubernetes``, by file name.

    Raises:
        FolderInUse, UnsafeValue, DiskFull
    """
    base = checked("an image", base or default_base())
    target = folder.absolute()
    if target.exists() and not target.is_dir():
        raise FolderInUse(str(folder))
    if target.exists() and (foreign := written.foreign(target, frozenset({KEY_FILE}))):
        raise FolderInUse(str(folder), foreign)
    with disk.writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            _fill(workspace, contents, draft, base)
            for name, text in (manifests or {}).items():
                _write(draft / _KUBERNETES / name, text.encode())
            _write(draft / written.NAME, written.record(draft))
            _same_times(draft)
            if (target / KEY_FILE).exists():
                (draft / KEY_FILE).parent.mkdir(exist_ok=True)
                shutil.copy2(target / KEY_FILE, draft / KEY_FILE)
            if target.exists():
                target.rename(old := draft.with_name(f"{draft.name}.old"))
                draft.rename(target)
                shutil.rmtree(old)
            else:
                draft.rename(target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    return target


def _fill(workspace: Workspace, contents: Contents, draft: Path, base: str) -> None:
    files: dict[str, bytes] = {
        "Dockerfile": dockerfile(contents, base).encode("ascii"),
        "README.md": _README.format(**_names(contents)).encode("ascii"),
        ".dockerignore": f"Dockerfile\n.dockerignore\nREADME.md\n{written.NAME}\nkubernetes\n".encode("ascii"),
        manifest.NAME: manifest.to_bytes(contents),
    }
    for packaged in contents.models:
        pinned = packaged.environment
        lines = [f"# Python {pinned.python}", *pinned.requirements]
        files[manifest.requirements_file(manifest.environment_key(pinned))] = ("\n".join(lines) + "\n").encode("ascii")
    if contents.settings:
        files["settings.toml"] = _toml(contents.settings).encode()
    for name, data in files.items():
        _write(draft / name, data)
    (draft / "artifacts").mkdir()
    for digest in sorted({digest for packaged in contents.models for digest in packaged.content}):
        with workspace.artifacts.open(digest) as source, (draft / "artifacts" / digest).open("xb") as copy:
            shutil.copyfileobj(source, copy)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def dockerfile(contents: Contents, base: str) -> str:
    """Raises:
    UnsafeValue: a value does not match its pattern.
    """
    pythons = {checked("a Python", packaged.environment.python) for packaged in contents.models} - {IMAGE_PYTHON}
    others = [{"python": python, "word": python.replace(".", "_")} for python in sorted(pythons)]
    copies = [_COPY.format(**other) for other in others]
    folders = [f"/opt/python/{other['python']}" for other in others]
    if folders:  # a Python of an older image does not find its own library by itself
        libraries = ", ".join(f'"{folder}/lib"' for folder in folders)
        copies.append(f'RUN ["ldconfig", {libraries}]\n')
        copies.append("ENV PATH=$PATH:" + ":".join(f"{folder}/bin" for folder in folders) + "\n")
    return _TEMPLATE.format(
        **_names(contents),
        base=checked("an image", base),
        stages="".join(form.format(**other) for form in (_ARGUMENT, _STAGE) for other in others),
        pythons="".join(copies),
    )


def _names(contents: Contents) -> dict[str, str]:
    """What it is called, and what it holds."""
    first = contents.models[0].record
    title = contents.services[0].name if contents.services else first.name
    return {
        "models": " ".join(checked("a model", packaged.record.id) for packaged in contents.models),
        "title": checked("a model", f"{title}:1").removesuffix(":1"),
        "title_version": checked("a model", f"{first.name}:{first.version}").rpartition(":")[2],
    }


def _toml(settings: Mapping[str, Json]) -> str:
    """Settings are numbers, booleans and text, for which JSON's spelling is TOML's too."""
    return "".join(f"{name} = {json.dumps(settings[name])}\n" for name in sorted(settings))


def _same_times(draft: Path) -> None:
    for parent, folders, names in os.walk(draft, topdown=False):
        for name in names:
            os.chmod(os.path.join(parent, name), 0o644)
            os.utime(os.path.join(parent, name), (_TIME, _TIME))
        for name in folders:
            os.chmod(os.path.join(parent, name), 0o755)  # noqa: S103 - read in the image by another user
            os.utime(os.path.join(parent, name), (_TIME, _TIME))
    draft.chmod(0o755)
    os.utime(draft, (_TIME, _TIME))
