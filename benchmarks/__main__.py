"""Side by side in one run: ``python -m benchmarks [--peers] [--report]``.

Every server gets the same model and the same rows. Its answers are held against scikit-learn's before any time is taken; then a closed
loop by wrk and an open loop at 1, 2 and 4 times what the closed loop reached, for each model; cold start and memory beside. Windows
alternate between the servers, so that a busy moment of the machine meets all of them. ``--report`` writes docs/benchmarks.md and its plot.
Needs Linux, wrk and, for what is not ours, uv.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
import sklearn
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks.load import Closed, Open, closed, open_loop
from benchmarks.servers import OURS, PEERS, ROWS, Running, Server, running

DOCS: Final = Path(__file__).parent.parent / "docs"
MODELS: Final[dict[str, Callable[[], Any]]] = {
    "SVC": lambda: SVC(kernel="linear", probability=True, random_state=0),
    "scaler + logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "forest of 100": lambda: RandomForestClassifier(100, random_state=0),
    "boosting": lambda: HistGradientBoostingClassifier(random_state=0),
}
EMPTY: Final = "empty uvicorn app"


@dataclass
class Result:
    """What was seen of one server with one model; lists hold one entry a window."""

    cold_start_s: float
    memory_mb: float
    closed: dict[int, list[Closed]] = field(default_factory=dict)  # by connections
    open: list[Open] = field(default_factory=list)

    def rate(self, connections: int) -> float:
        return statistics.median(each.rate for each in self.closed[connections])


def check(server: Running, model: Any, rows: ROWS) -> None:
    """Single rows and several at once are answered as scikit-learn does it, to the last few bits."""
    for part in ([row] for row in rows[:5]), (rows[:7],):
        for asked in part:
            np.testing.assert_allclose(server.ask(asked), model.predict_proba(np.array(asked)), rtol=1e-12, atol=1e-14)


def measured(
    servers: tuple[Server, ...], model: Any, rows: ROWS, options: argparse.Namespace, folder: Path
) -> dict[str, Result]:
    path = folder / "model.joblib"
    joblib.dump(model, path)
    results: dict[str, Result] = {}
    with ExitStack() as stack:
        started: dict[str, Running] = {}
        for server in servers:
            try:
                each = stack.enter_context(running(server, path, options.environments, folder / server.name, rows))
            except Exception as error:  # a peer that cannot be had here is left out, with its reason
                if server in OURS:
                    raise
                print(f"{server.name} is left out: {error}", file=sys.stderr)
                continue
            if server.scores:
                check(each, model, rows)
            started[server.name] = each
        for name, each in started.items():
            for connections in options.connections:
                closed(each, rows, connections, 1, folder)  # warm
            results[name] = Result(each.cold_start_s, each.memory_mb())
        for _ in range(options.windows):
            for name, each in started.items():
                for connections in options.connections:
                    seen = closed(each, rows, connections, options.seconds, folder)
                    results[name].closed.setdefault(connections, []).append(seen)
        for name, each in started.items():
            most = results[name].rate(max(options.connections))
            for times in (1, 2, 4) if options.open else ():
                results[name].open.append(open_loop(each, rows, times * most, options.seconds))
    return results


def table(model: str, results: dict[str, Result], connections: list[int]) -> str:
    """Markdown. Ratios are to the empty app in the same run."""
    heads = [f"requests/s at {c} | ratio | p50, ms | p99, ms" for c in connections]
    titles = (
        f"| server | {' | '.join(heads)} | CPU, µs a request | goodput at 1×, 2×, 4× | cold start, s | memory, MB |"
    )
    lines = [f"### {model}\n", titles, "|---" * (titles.count("|") - 1) + "|"]
    for name, result in results.items():
        cells = []
        for count in connections:
            seen = result.closed[count]
            p50, p99 = (statistics.median(getattr(each, key) for each in seen) for key in ("p50_ms", "p99_ms"))
            ratio = result.rate(count) / results[EMPTY].rate(count)
            cells += [f"{result.rate(count):,.0f}", f"{ratio:.3f}", f"{p50:.2f}", f"{p99:.2f}"]
        cpu = statistics.median(each.cpu_us for each in result.closed[max(connections)])
        goodput = ", ".join(
            f"{each.good:,.0f}" + (f" ({each.failed} failed)" if each.failed else "") for each in result.open
        )
        lines.append(
            f"| {name} | {' | '.join(cells)} | {cpu:.0f} | {goodput or '–'} | {result.cold_start_s:.1f} | {result.memory_mb:.0f} |"
        )
    return "\n".join(lines) + "\n"


def plot(everything: dict[str, dict[str, Result]], connections: int) -> str:
    """Requests a second as bars, one group a model: an SVG without any library."""
    names = list(dict.fromkeys(name for results in everything.values() for name in results))
    most = max(result.rate(connections) for results in everything.values() for result in results.values())
    parts, y = [], 10
    for model, results in everything.items():
        parts.append(f'<text x="0" y="{y + 12}" font-weight="bold">{model}</text>')
        y += 20
        for name in names:
            if name in results:
                rate = results[name].rate(connections)
                colour = "#c2410c" if name == "fitserve" else "#94a3b8"
                parts.append(f'<text x="150" y="{y + 12}" text-anchor="end">{name}</text>')
                parts.append(
                    f'<rect x="158" y="{y}" width="{max(1, 400 * rate / most):.0f}" height="14" fill="{colour}"/>'
                )
                parts.append(f'<text x="{164 + 400 * rate / most:.0f}" y="{y + 12}">{rate:,.0f}</text>')
                y += 18
        y += 12
    size = f'width="660" height="{y}" viewBox="0 0 660 {y}"'
    style = 'font-family="sans-serif" font-size="12" style="background:#fff"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(parts)}</svg>\n'


def report(text: str, everything: dict[str, dict[str, Result]], options: argparse.Namespace) -> None:
    (DOCS / "benchmarks.svg").write_text(plot(everything, max(options.connections)))
    versions = f"scikit-learn {sklearn.__version__}, numpy {np.__version__}, Python {platform.python_version()}"
    head = (
        "# Benchmarks\n\nWritten by `python -m benchmarks --report"
        + (" --peers" if options.peers else "")
        + f"` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end, {versions}. wrk runs on the same "
        "cores. Single iris rows, `predict_proba`; every server's answers were checked first. Compare the ratios, not the "
        "absolute numbers.\n\nGoodput counts right answers within 1 s in an open loop at 1, 2 and 4 times the rate of the closed loop.\n\n"
        f"![requests a second at {max(options.connections)} connections](benchmarks.svg)\n\n"
    )
    (DOCS / "benchmarks.md").write_text(head + text)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--peers", action="store_true", help="also other servers, each installed in an environment of its own"
    )
    parser.add_argument("--only", nargs="+", default=[], help="these servers alone, beside ours and the empty app")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 32, 64])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--no-open", dest="open", action="store_false", help="leave the open loop out")
    parser.add_argument("--report", action="store_true", help="write docs/benchmarks.md and its plot")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fitserve-benchmarks"
    parser.add_argument("--environments", type=Path, default=cache, help="where environments are kept")
    options = parser.parse_args()
    servers = OURS + (PEERS if options.peers else ())
    if options.only:
        servers = tuple(each for each in OURS + PEERS if each.name in {*options.only, "fitserve", EMPTY})
    data = load_iris()
    rows: ROWS = data.data[::3].tolist()
    everything, text = {}, ""
    for name in options.models:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            model = MODELS[name]().fit(data.data, data.target)
            everything[name] = measured(servers, model, rows, options, Path(folder))
        part = table(name, everything[name], options.connections)
        print(part, flush=True)
        text += part + "\n"
    if options.report:
        report(text, everything, options)


if __name__ == "__main__":
    main()
