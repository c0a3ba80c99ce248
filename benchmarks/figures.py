"""The figures to reach, and what was measured of each: the rows of the page's first table, from the saved results."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.results import Figures
from benchmarks.servers import EMPTY, FITSERVE, PEERS
from benchmarks.side_by_side import DEADLINE_S, TASKS, Task

Saved = dict[str, Figures]
Missing = (KeyError, IndexError, ValueError, statistics.StatisticsError, ZeroDivisionError)


@dataclass(frozen=True)
class Seen:
    """`note`: what a reader needs to know beside it."""

    text: str
    met: bool
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """`measure` raises one of `Missing` where the results do not tell. `why` is printed where it was missed."""

    work: str
    target: str
    measure: Callable[[Saved], Seen]
    why: str = ""


def median(windows: list[dict[str, float]], key: str) -> float:
    return float(statistics.median(each[key] for each in windows))


def of(saved: Saved, task: str, server: str, connections: int) -> list[dict[str, float]]:
    """The windows of a server's closed loop."""
    windows: list[dict[str, float]] = saved["side_by_side"]["tasks"][task][server]["closed"][str(connections)]
    return windows


def beside(saved: Saved, task: str, connections: int, key: str) -> float:
    """Ours to the empty app, window by window, median."""
    ours = saved["side_by_side"]["tasks"][task][FITSERVE.name]
    pairs = zip(ours["closed"][str(connections)], ours["empty"][str(connections)], strict=True)
    return float(statistics.median(mine[key] / empty[key] for mine, empty in pairs))


def _share(task: Task) -> Callable[[Saved], Seen]:
    def measure(saved: Saved) -> Seen:
        share = beside(saved, task.name, 64, "rate")
        path = saved["side_by_side"]["tasks"][task.name][FITSERVE.name]["path"]
        return Seen(f"{share:.2f}", share >= task.share, f"scoring path `{path}`")

    return measure


def _latency(saved: Saved) -> Seen:
    ratio = beside(saved, "SVC", 1, "p50_ms")
    ours = median(of(saved, "SVC", FITSERVE.name, 1), "p50_ms")
    return Seen(f"{ratio:.2f} ×", ratio <= 2.5, f"{ours * 1000:.0f} µs")


def best_peer(saved: Saved, task: str) -> tuple[str, float]:
    """The fastest of those that are made for serving, at 32 connections."""
    names = [each.name for each in PEERS if each.serving]
    measured = saved["side_by_side"]["tasks"][task]
    rates = {name: median(of(saved, task, name, 32), "rate") for name in names if "closed" in measured.get(name, {})}
    best = max(rates, key=lambda name: rates[name])
    return best, rates[best]


def _times(task: Task) -> Callable[[Saved], Seen]:
    def measure(saved: Saved) -> Seen:
        name, rate = best_peer(saved, task.name)
        times = median(of(saved, task.name, FITSERVE.name, 32), "rate") / rate
        return Seen(f"{times:.1f} ×", times >= (task.times or 0), f"the best is {name}: {rate:,.0f} requests/s")

    return measure


def _big_bodies(saved: Saved) -> Seen:
    ratios: dict[str, float] = saved["big_bodies"]["ratios"]
    worst = max(ratios, key=lambda name: ratios[name])
    return Seen(f"{ratios[worst]:.2f} ×", ratios[worst] <= 1.3, ", ".join(f"{k} {v:.2f}" for k, v in ratios.items()))


def _beside_big_bodies(saved: Saved) -> Seen:
    added = float(saved["big_bodies"]["p99_added_ms"])
    return Seen(f"{added:+.1f} ms", added <= 5)


def overload(saved: Saved, task: str) -> tuple[float, dict[str, float]]:
    """Goodput at 4 times capacity as a share of the best goodput, and what was seen there."""
    loops: list[dict[str, float]] = saved["side_by_side"]["tasks"][task][FITSERVE.name]["open"]
    return loops[-1]["good"] / max(each["good"] for each in loops), loops[-1]


def _overload(saved: Saved) -> Seen:
    seen = {task.name: overload(saved, task.name) for task in TASKS}
    worst = min(seen, key=lambda name: seen[name][0])
    failed = sum(each["failed"] for _, each in seen.values())
    slowest = max(each["p99_ms"] for _, each in seen.values())
    text = f"{seen[worst][0]:.0%} ({worst}); {failed:.0f} failed; p99 {slowest:.0f} ms"
    return Seen(text, seen[worst][0] >= 0.9 and not failed and slowest < DEADLINE_S * 1000)


def _failed(scene: str, events: int) -> Callable[[Saved], Seen]:
    def measure(saved: Saved) -> Seen:
        told = saved["chaos"][scene]
        met = told["failed"] == 0 and told["events"] >= events
        return Seen(
            f"{told['failed']} of {told['sent']:,}", met, f"{told['events']} {scene} at {told['rate']:g} requests/s"
        )

    return measure


def _many(saved: Saved) -> Seen:
    told = saved["many_models"]
    text = f"{told['pss_mb']:.1f} MB, {told['all_live_s']:.1f} s, {told['cold_start_ms']:.0f} ms"
    met = told["pss_mb"] <= 15 and told["all_live_s"] <= 10 and told["cold_start_ms"] <= 50
    return Seen(text, met, f"{told['live']} models, limits by {told['enforcement']}")


def _registered(saved: Saved) -> Seen:
    told = saved["many_models"]
    return Seen(f"{told['cost_ratio'] - 1:+.1%}", told["cost_ratio"] <= 1.05, f"{told['registered']:,} models")


_HERE: Final = "wrk and the server share the cores of this machine"
FIGURES: Final = (
    *(
        Figure(
            f"{task.name}, single rows, 64 connections, one HTTP process", f"≥ {task.share:.2f} of the {EMPTY.name}", _share(task), _HERE
        )
        for task in TASKS
    ),
    Figure("SVC, 1 connection, median latency", f"≤ 2.5 × the {EMPTY.name}'s", _latency, "one process more is woken on the way there, and one on the way back"),
    *(
        Figure(f"{task.name}, 32 connections", f"≥ {task.times:g} × the best serving peer", _times(task))
        for task in TASKS
        if task.times
    ),
    Figure("10,000 × 20 JSON", "≤ 1.3 × (parse + predict + serialise) by hand", _big_bodies),
    Figure("single rows beside a stream of such bodies, p99", "at most 5 ms above quiet", _beside_big_bodies),
    Figure(
        "open loop at 4× capacity",
        f"goodput ≥ 90 % of peak, nothing but 200, 429 and 503, p99 of accepted < {DEADLINE_S:g} s",
        _overload,
        "the one who asks takes its share of the same cores, and the more the more it asks",
    ),
    Figure("SIGKILL of a child every second under 2,000 requests/s for 60 s", "0 failed requests", _failed("kills", 60)),
    Figure("100 swaps of version under load", "0 failed requests", _failed("swaps", 100)),
    Figure("100 live models of 0.1 GB", "≤ 15 MB (PSS) each, all ready within 10 s, cold start ≤ 50 ms", _many),
    Figure("cost per request with 1,000 registered models", "within 5 % of that with 1", _registered),
)  # fmt: skip


def table(saved: Saved) -> str:
    """Target, measured, met or missed and why; Markdown."""
    lines = ["| work | target | measured | |", "|---|---|---|---|"]
    for figure in FIGURES:
        try:
            seen = figure.measure(saved)
        except Missing:
            lines.append(f"| {figure.work} | {figure.target} | not measured | |")
            continue
        verdict = "met" if seen.met else f"**missed**{': ' + figure.why if figure.why else ''}"
        note = f" ({seen.note})" if seen.note else ""
        lines.append(f"| {figure.work} | {figure.target} | {seen.text}{note} | {verdict} |")
    return "\n".join(lines) + "\n"
