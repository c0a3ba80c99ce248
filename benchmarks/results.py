"""What measurements found, one file each, from which the page is made: figures by name as JSON, and what was printed as Markdown.

The folder is `.benchmarks` in the repository, or what FITSERVE_BENCHMARKS names.
"""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(os.environ.get("FITSERVE_BENCHMARKS", Path(__file__).parent.parent / ".benchmarks"))
Figures = dict[str, Any]


def save(name: str, **figures: Any) -> None:
    """Keep the figures of one measurement, with when, how and how busy the machine was."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    about = {"taken": f"{datetime.now(UTC):%Y-%m-%d %H:%M}", "load": os.getloadavg()[0], "arguments": sys.argv[1:]}
    (FOLDER / f"{name}.json").write_text(json.dumps({**about, **figures}, indent=1) + "\n")


def saved(folder: Path = FOLDER) -> dict[str, Figures]:
    """The figures of all measurements so far, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def run(name: str, arguments: list[str]) -> int:
    """``python -m benchmarks.NAME``; what it prints is shown and kept. Gives its exit code."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    print(f"\n$ python -m benchmarks.{name} {' '.join(arguments)}", flush=True)
    where = Path(__file__).parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=where) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode == 0:
        (FOLDER / f"{name}.md").write_text("".join(lines))
    return process.returncode


def printed(folder: Path = FOLDER) -> dict[str, str]:
    """What the measurements printed, by name."""
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.md"))}


def machine() -> dict[str, str]:
    """What the figures hang on."""
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8") as cpu:
        model = next((line.partition(":")[2].strip() for line in cpu if line.startswith("model name")), "")
    packages = ("scikit-learn", "numpy", "uvicorn", "uvloop", "httptools", "orjson")
    gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "processor": f"{os.cpu_count()} cores, {model}",
        "memory": f"{gigabytes:.0f} GB",
        "system": f"Linux {platform.release()}",
        "Python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }
