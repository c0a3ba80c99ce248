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

from gateway.package import manifest
from gateway.package.contents import Contents
from gateway.package.errors import FolderInUse
from gateway.package.patterns import checked
from registry.records import Json
from registry.stores import disk
from registry.workspace import Workspace

KEY_FILE: Final = "kubernetes/key.txt"  # the operator's own, kept when a package is written anew; never in the image
_TIME: Final = 0  # of every file: the start of 1970
_TEMPLATE: Final = """\
# Made by `fitserve package`: {models}.
ARG FITSERVE_IMAGE={base}
FROM ${{FITSERVE_IMAGE}}

# Where the image's own releases are not those of the environments, an interpreter with them is built here, once.
COPY --chown=0:0 . /package
USER 0:0
ENV UV_PYTHON_INSTALL_DIR=/package/python
RUN ["fitserve", "run-package", "--prepare", "/package"]

USER 10001:0
LABEL org.opencontainers.image.title="{title}" \\
      org.opencontainers.image.version="{title_version}" \\
      io.fitserve.models="{models}"
CMD ["run-package", "/package"]
"""


def default_base() -> str:
    """The image of this very release of fitserve."""
    return f"localhost/fitserve:{checked('a version of fitserve', version('fitserve'))}"


def write(workspace: Workspace, contents: Contents, folder: Path, *, base: str | None = None) -> Path:
    """Write the context to `folder`, in place of an earlier package there; complete or not at all.

    Args:
        base: the image of fitserve that it is built on.

    Raises:
        FolderInUse, UnsafeValue, DiskFull
    """
    base = checked("an image", base or default_base())
    target = folder.absolute()
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / manifest.NAME).is_file())):
        raise FolderInUse(str(folder))
    with disk.writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            _fill(workspace, contents, draft, base)
            _same_times(draft)
            if (target / KEY_FILE).exists():
                (draft / KEY_FILE).parent.mkdir()
                shutil.copy2(target / KEY_FILE, draft / KEY_FILE)
            if target.exists():
                shutil.rmtree(target)
            draft.rename(target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    return target


def _fill(workspace: Workspace, contents: Contents, draft: Path, base: str) -> None:
    files: dict[str, bytes] = {
        "Dockerfile": dockerfile(contents, base).encode("ascii"),
        ".dockerignore": b"Dockerfile\n.dockerignore\nkubernetes\n",
        manifest.NAME: manifest.to_bytes(contents),
    }
    for packaged in contents.models:
        pinned = packaged.environment
        lines = [f"# Python {pinned.python}", *pinned.requirements]
        files[manifest.requirements_file(manifest.environment_key(pinned))] = ("\n".join(lines) + "\n").encode("ascii")
    if contents.settings:
        files["settings.toml"] = _toml(contents.settings).encode()
    for name, data in files.items():
        path = draft / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    (draft / "artifacts").mkdir()
    for digest in sorted({digest for packaged in contents.models for digest in packaged.content}):
        with workspace.artifacts.open(digest) as source, (draft / "artifacts" / digest).open("xb") as copy:
            shutil.copyfileobj(source, copy)


def dockerfile(contents: Contents, base: str) -> str:
    """Raises:
    UnsafeValue: a value does not match its pattern.
    """
    first = contents.models[0].record
    title = contents.services[0].name if contents.services else first.name
    return _TEMPLATE.format(
        models=" ".join(checked("a model", packaged.record.id) for packaged in contents.models),
        base=checked("an image", base),
        title=checked("a model", f"{title}:1").removesuffix(":1"),
        title_version=checked("a model", f"{first.name}:{first.version}").rpartition(":")[2],
    )


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
