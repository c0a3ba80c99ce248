"""docs/benchmarks.md, the pages beneath it and the plot, from the saved results. Measures nothing."""

from pathlib import Path
from typing import Any, Final

from benchmarks import figures
from benchmarks.figures import Saved, beside, median
from benchmarks.servers import EMPTY, FITSERVE
from benchmarks.side_by_side import DEADLINE_S

DOCS: Final = Path(__file__).parent.parent / "docs"
FOLDER: Final = "benchmarks"  # in `docs`, of the pages beneath the first one
COMMAND: Final = "python -m benchmarks --peers --all --report"
#: What each further script measures: the title of its page.
SECTIONS: Final = {
    "chaos": "Killed processes and new versions under load",
    "many_models": "Many models",
    "big_bodies": "Large bodies",
    "neighbour": "A model that uses all the CPU it can get",
    "limits": "How well limits hold",
    "children": "Scoring processes compared with fresh interpreters",
    "register": "From a registration to its first answer",
    "scoring_paths": "What the faster scoring paths gain",
    "adapters": "What the protocols cost",
}
#: The pages of the comparison with other servers.
COMPARISON: Final = {
    "empty_app": f"Compared with the {EMPTY.name}",
    "servers": "Compared with other servers",
    "open_loop": "Open loop: a fixed request rate",
    "method": "How it was measured, and what that hides",
}
METHOD: Final = f"""\
- Everything runs on one machine, and the load generator shares its cores with the server. That costs the fast servers most. Compare
  ratios of one run, not absolute numbers, nor ratios of different machines.
- Closed loop: wrk, one thread, 50 different single rows in turn, `predict_proba`. Medians of all windows; latencies as wrk sees them. Ours and the empty
  app alternate window by window; of the peers one runs at a time. Before any time is taken each server's answers are held against scikit-learn's: single
  rows, several rows in a request, 32 callers at once.
- Peers come from PyPI, each in an environment of its own with the same Python and scikit-learn, as their documentation starts them. Where there is a switch for workers or
  batching, a second row has it on. They have no limits of CPU or memory; ours has its own, 1 CPU and 0.5 GB for the model. By hand (FastAPI) is no serving peer.
- Open loop (`benchmarks/openloop.py`): requests are due at a fixed rate, that is 1, 2 and 4 times what the closed loop reached at the most connections. A request that is due
  takes a free connection or a new one, up to 2,048; when all are in use it is not sent, and counted. Latency counts from when it was due. Goodput
  is what was answered with 200 within {DEADLINE_S:g} s, a second; peak is the best of the three. The generator is one Python process with plain sockets; how late it was
  in asking, on average, and how much of a core it took stand beside: where it is late by much, the one who asks is the bottleneck, not the one who answers. Requests due within
  the same millisecond leave together. A deadline of {DEADLINE_S:g} s goes along as `x-request-timeout-ms`; what was refused is 429 or 503, failed is anything else but 200.
- Cold start is the time from the start of the process to its first right answer, disk caches warm. Memory is PSS over the whole tree, before the load.
"""


def page(saved: Saved, printed: dict[str, str]) -> str:
    """The first page: the figures, and where the measurements behind them are."""
    parts = [
        f"# Benchmarks\n\n`{COMMAND}` (`make bench`) writes these pages from what it measured; `python -m benchmarks` alone is the quick run.\n",
        figures.table(saved),
    ]
    if (side := saved.get("side_by_side")) is not None:
        machine = "; ".join(f"{key} {value}" for key, value in side["machine"].items())
        parts.append(
            f"Measured {side['taken']} UTC, load average {side['load_before']:.1f} before, with `{side['command']}`.\n\nMachine: {machine}.\n"
        )
    found = list(details(saved, printed))
    if found:
        rows = [f"| [{_TITLES[name]}]({FOLDER}/{name}.md) | {_taken(saved, name)} |" for name in found]
        parts += ["| measurements | taken (UTC) |\n|---|---|", *rows, ""]
    return "\n".join(parts)


_TITLES: Final = COMPARISON | SECTIONS


def _taken(saved: Saved, name: str) -> str:
    result = saved.get("side_by_side" if name in COMPARISON else name, {})
    return str(result.get("taken", ""))


def details(saved: Saved, printed: dict[str, str]) -> dict[str, str]:
    """The pages beneath the first one, by the name of their file."""
    found: dict[str, str] = {}
    if (side := saved.get("side_by_side")) is not None:
        tasks: dict[str, dict[str, Any]] = side["tasks"]
        versions = version_list(tasks)
        found["empty_app"] = ours(saved, tasks)
        found["servers"] = peers(tasks) + (f"\n{versions}" if versions else "")
        found["open_loop"] = open_loops(tasks)
        found["method"] = METHOD
    for name in SECTIONS:
        if name in printed:
            when = f" Taken {saved[name]['taken']} UTC." if name in saved else ""
            found[name] = f"`python -m benchmarks.{name}`.{when}\n\n{_printed(printed[name])}"
    return {
        name: f"# {_TITLES[name]}\n\n[All benchmarks](../benchmarks.md)\n\n{text.strip()}\n"
        for name, text in found.items()
        if text.strip()
    }


def _printed(text: str) -> str:
    """Tables as they are; everything else that was printed as it was printed."""
    parts, plain = [], list[str]()
    lines = [*text.strip("\n").splitlines(), ""]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("|"):
            if plain:
                parts += ["```", *plain, "```", ""]
                plain = []
            parts += [line] if following.startswith("|") else [line, ""]
        elif line.strip():
            plain.append(line)
    if plain:
        parts += ["```", *plain, "```", ""]
    return "\n".join(parts)


def ours(saved: Saved, tasks: dict[str, Any]) -> str:
    lines = [
        f"| model | connections | requests/s | {EMPTY.name} | ratio | p50 ms | p99 ms | CPU, µs a request | scoring path |",
        "|---" * 9 + "|",
    ]
    for task, servers in tasks.items():
        told = servers[FITSERVE.name]
        for connections, windows in told["closed"].items():
            empty = median(told["empty"][connections], "rate")
            cells = [
                f"{median(windows, 'rate'):,.0f}",
                f"{empty:,.0f}",
                f"{beside(saved, task, int(connections), 'rate'):.2f}",
                f"{median(windows, 'p50_ms'):.2f}",
                f"{median(windows, 'p99_ms'):.2f}",
                f"{median(windows, 'cpu_us'):.0f}",
                f"`{told['path']}`",
            ]
            lines.append(f"| {task} | {connections} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def peers(tasks: dict[str, Any]) -> str:
    parts: list[str] = []
    if any(len(servers) > 1 for servers in tasks.values()):
        parts.append("![requests a second at 32 connections](../benchmarks.svg)\n")
    for task, servers in tasks.items():
        if len(servers) < 2:
            continue
        counts = list(servers[FITSERVE.name]["closed"])
        heads = " | ".join(f"requests/s at {count}" for count in counts)
        titles = f"| server | {heads} | ours is | p50, p99 ms at 32 | CPU, µs a request | failed | cold start s | memory MB | empty app then |"
        lines = [f"## {task}\n", titles, "|---" * (titles.count("|") - 1) + "|"]
        mine = median(servers[FITSERVE.name]["closed"]["32"], "rate")
        for name, told in servers.items():
            if "closed" not in told:
                lines.append(f"| {name} | left out: {told['left out']} |" + " |" * (titles.count("|") - 3))
                continue
            at = told["closed"]["32"]
            rates = [f"{median(told['closed'][count], 'rate'):,.0f}" for count in counts]
            failed = sum(each["failed"] for windows in told["closed"].values() for each in windows)
            cells = [
                *rates,
                "" if name == FITSERVE.name else f"{mine / median(at, 'rate'):.1f} ×",
                f"{median(at, 'p50_ms'):.1f}, {median(at, 'p99_ms'):.1f}",
                f"{median(at, 'cpu_us'):,.0f}",
                f"{failed}",
                f"{told['cold_start_s']:.1f}",
                f"{told['memory_mb']:.0f}",
                f"{median(told['empty']['32'], 'rate'):,.0f}",
            ]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def open_loops(tasks: dict[str, Any]) -> str:
    lines = [
        "| model | server | × capacity | asked/s | goodput/s | of peak | p50 ms | p99 ms of accepted | refused/s | not sent/s | failed | late ms, generator's CPU |",
        "|---" * 12 + "|",
    ]
    for task, servers in tasks.items():
        for name, told in servers.items():
            loops = told.get("open", [])
            peak = max((each["good"] for each in loops), default=0) or 1
            for each in loops:
                cells = [f"{each['times']:g}", f"{each['asked']:,.0f}", f"{each['good']:,.0f}"]
                cells += [f"{each['good'] / peak:.0%}", f"{each['p50_ms']:.0f}", f"{each['p99_ms']:.0f}"]
                cells += [f"{each['refused']:,.0f}", f"{each['unsent']:,.0f}", f"{each['failed']:,}"]
                cells += [f"{each['late_ms']:.1f}, {each['cpu']:.0%}"]
                lines.append(f"| {task} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def version_list(tasks: dict[str, Any]) -> str:
    found: dict[str, str] = {}
    for servers in tasks.values():
        for told in servers.values():
            found.update(told.get("versions", {}))
    return "Versions of the others: " + ", ".join(f"{name} {found[name]}" for name in found) + ".\n" if found else ""


def plot(saved: Saved, connections: str = "32") -> str:
    """Requests a second as bars, one group a model: an SVG without any library."""
    tasks: dict[str, dict[str, Any]] = saved["side_by_side"]["tasks"]
    rates: dict[str, dict[str, float]] = {
        task: {name: median(told["closed"][connections], "rate") for name, told in servers.items() if "closed" in told}
        for task, servers in tasks.items()
    }
    most = max(rate for group in rates.values() for rate in group.values())
    parts: list[str] = []
    y = 10
    write = parts.append
    for task, group in rates.items():
        write(f'<text x="0" y="{y + 12}" font-weight="bold">{task}</text>')
        y += 20
        for name, rate in group.items():
            colour = "#c2410c" if name == FITSERVE.name else "#94a3b8"
            write(f'<text x="180" y="{y + 12}" text-anchor="end">{name}</text>')
            write(f'<rect x="188" y="{y}" width="{max(1, 400 * rate / most):.0f}" height="14" fill="{colour}"/>')
            write(f'<text x="{194 + 400 * rate / most:.0f}" y="{y + 12}">{rate:,.0f}</text>')
            y += 18
        y += 12
    size = f'width="680" height="{y}" viewBox="0 0 680 {y}"'
    style = 'font-family="sans-serif" font-size="12" style="background:#fff"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(parts)}</svg>\n'


def write(saved: Saved, printed: dict[str, str], docs: Path = DOCS) -> None:
    """Pages of what was not measured are taken away."""
    (docs / "benchmarks.md").write_text(page(saved, printed), encoding="utf-8")
    folder = docs / FOLDER
    folder.mkdir(exist_ok=True)
    pages = details(saved, printed)
    for name in _TITLES:
        file = folder / f"{name}.md"
        if name in pages:
            file.write_text(pages[name], encoding="utf-8")
        else:
            file.unlink(missing_ok=True)
    if "side_by_side" in saved:
        (docs / "benchmarks.svg").write_text(plot(saved), encoding="utf-8")
