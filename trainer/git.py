"""Git facts about the source folder, under the property names that Azure uses."""

import re
import shutil
import subprocess
from pathlib import Path


def git_properties(folder: Path, timeout_s: float = 5.0) -> dict[str, str]:
    """Repository, branch, commit and whether there are changes; empty outside a checkout or without git."""
    if not any((parent / ".git").exists() for parent in (folder, *folder.parents)) or not shutil.which("git"):
        return {}
    status = _git(folder, timeout_s, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if status is None:
        return {}
    facts = {"dirty": str(any(line and not line.startswith("#") for line in status.splitlines()))}
    for key, header in (("commit", "branch.oid"), ("branch", "branch.head")):
        found = re.search(rf"^# {re.escape(header)} (.+)$", status, re.MULTILINE)
        if found and not found[1].startswith("("):
            facts[key] = found[1]
    remote = _git(folder, timeout_s, "config", "--get", "remote.origin.url")
    if remote:
        facts["repository_uri"] = re.sub(r"(?<=://)[^/@]*@", "", remote.strip())  # do not store a password in a run
    names = {"repository_uri": "repoURL", "commit": "commit", "branch": "branch"}
    properties = {f"azureml.git.{key}": value for key, value in facts.items()}
    properties.update({f"mlflow.source.git.{name}": facts[key] for key, name in names.items() if key in facts})
    return properties


def _git(folder: Path, timeout_s: float, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", errors="replace")
