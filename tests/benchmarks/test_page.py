"""The page of the benchmarks is made from saved results, and says what can be run."""

import importlib.util
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from benchmarks import figures, report
from benchmarks.__main__ import SCRIPTS, parser
from benchmarks.results import saved
from benchmarks.servers import EMPTY, FITSERVE, PEERS
from benchmarks.side_by_side import TASKS

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"


def windows(rate: float) -> dict[str, list[dict[str, float]]]:
    one = {"rate": rate, "p50_ms": 1000 / rate, "p99_ms": 5000 / rate, "cpu_us": 1e6 / rate, "failed": 0}
    return {count: [dict(one), dict(one)] for count in ("1", "32", "64")}


def loops(capacity: float, at_four: float) -> list[dict[str, float]]:
    goods = {1: capacity, 2: capacity, 4: at_four * capacity}
    common = {"p50_ms": 10, "p99_ms": 99, "sent": 1, "refused": 0, "unsent": 0, "failed": 0, "late_ms": 0, "cpu": 0.5}
    return [{"times": times, "asked": times * capacity, "good": good, **common} for times, good in goods.items()]


def server(rate: float, path: str = "") -> dict[str, Any]:
    told = {"cold_start_s": 1.5, "memory_mb": 100.0, "path": path, "versions": {}}
    return {**told, "closed": windows(rate), "empty": windows(20_000), "open": loops(rate, 0.95)}


def results() -> dict[str, Any]:
    """Everything measured and all figures met."""
    tasks = {
        task.name: {
            FITSERVE.name: server(16_000, "libsvm"),
            "FastAPI by hand, async": server(5_000),
            "Azure, 2 workers": server(1_000),
            "Ray Serve": {"left out": "no wheels"},
        }
        for task in TASKS
    }
    about = {"taken": "2026-01-01 00:00", "load": 0.1}
    side = {
        **about,
        "machine": {"processor": "2 cores"},
        "load_before": 0.1,
        "command": "python -m benchmarks",
        "tasks": tasks,
    }
    many = {"live": 100, "enforcement": "cgroup2", "pss_mb": 10.0, "all_live_s": 5.0, "cold_start_ms": 20.0}
    told = {"rate": 2000.0, "sent": 120_000, "failed": 0, "p99_ms": 9.0}
    return {
        "side_by_side": side,
        "big_bodies": {**about, "ratios": {"predict": 1.1, "predict_proba": 1.2}, "p99_added_ms": 2.0},
        "chaos": {**about, "kills": {**told, "events": 60}, "swaps": {**told, "events": 100}},
        "many_models": {**about, **many, "registered": 1000, "cost_ratio": 1.01},
    }


def verdicts(told: dict[str, Any]) -> dict[str, str]:
    rows = [line.strip("|").split("|") for line in figures.table(told).splitlines()[2:]]
    return {row[0].strip(): row[3].strip() for row in rows}


def test_all_figures_are_judged_met_where_they_are() -> None:
    assert set(verdicts(results()).values()) == {"met"}
    assert len(figures.FIGURES) == len(verdicts(results()))


def test_each_figure_can_be_missed() -> None:
    told = deepcopy(results())
    for task in told["side_by_side"]["tasks"].values():
        task[FITSERVE.name] = {**server(4_000), "open": loops(4_000, 0.5)}
    told["big_bodies"].update(ratios={"predict": 1.4}, p99_added_ms=6.0)
    told["chaos"]["kills"]["failed"] = 1
    told["chaos"]["swaps"]["events"] = 99
    told["many_models"].update(pss_mb=15.1, cost_ratio=1.06)
    missed = verdicts(told)
    assert all(verdict.startswith("**missed**") for verdict in missed.values()), missed


def test_what_was_not_measured_is_said() -> None:
    assert "| not measured |" in figures.table({})
    assert "100 swaps" in report.page({}, {})
    assert report.details({}, {}) == {}


def test_by_hand_is_no_serving_peer() -> None:
    assert figures.best_peer(results(), "SVC") == ("Azure, 2 workers", 1_000)


def test_the_first_page_holds_the_figures_and_the_rest_lies_beneath_it(tmp_path: Path) -> None:
    printed = "2 cores\n\n| what happens | failed |\n|---|---|\n| a child killed | 0 |\n"
    report.write(results(), {"chaos": printed}, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text()
    beneath = {file.stem: file.read_text() for file in (tmp_path / report.FOLDER).iterdir()}
    assert list(beneath) != []
    assert set(beneath) == {*report.COMPARISON, "chaos"}
    assert re.findall(r"\]\(benchmarks/(\w+)\.md\)", page) == [*report.COMPARISON, "chaos"]
    assert page.count("\n#") == 0
    assert "| 100 swaps of version under load |" in page
    assert "| Azure, 2 workers | 1,000 | 1,000 | 1,000 | 16.0 × |" in beneath["servers"]
    assert "| Ray Serve | left out: no wheels |" in beneath["servers"]
    assert "| SVC | fitserve | 4 | 64,000 | 15,200 | 95% |" in beneath["open_loop"]
    assert "```\n2 cores\n```\n\n| what happens | failed |\n|---|---|\n| a child killed | 0 |\n" in beneath["chaos"]
    assert "0.80 | 0.06 | 0.31 | 62 | `libsvm` |" in beneath["empty_app"]
    drawn = (tmp_path / "benchmarks.svg").read_text()
    assert drawn.count("<rect") == 3 * len(TASKS)
    assert EMPTY.name not in drawn


def test_a_page_of_what_was_not_measured_again_goes(tmp_path: Path) -> None:
    report.write(results(), {"chaos": "x\n", "limits": "x\n"}, tmp_path)
    (tmp_path / report.FOLDER / "notes.md").write_text("somebody's own")
    report.write(results(), {"limits": "x\n"}, tmp_path)
    assert {file.stem for file in (tmp_path / report.FOLDER).iterdir()} == {*report.COMPARISON, "limits", "notes"}


def test_rows_of_tables_have_as_many_cells_as_their_heads() -> None:
    for page in [report.page(results(), {}), *report.details(results(), {}).values()]:
        for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
            assert len({line.count("|") for line in table.splitlines()}) == 1, table


@pytest.mark.parametrize(
    "page", [PAGE, *sorted((PAGE.parent / report.FOLDER).glob("*.md"))], ids=lambda page: page.stem
)
def test_the_written_pages_have_the_shape_that_the_report_gives_them(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page == PAGE:
        for figure in figures.FIGURES:
            assert f"| {figure.work} | {figure.target} |" in text
        return
    title = (report.COMPARISON | report.SECTIONS)[page.stem]
    assert text.startswith(f"# {title}\n\n[All benchmarks](../benchmarks.md)\n\n")
    assert f"[{title}](benchmarks/{page.name})" in PAGE.read_text(encoding="utf-8")


def test_every_script_of_all_is_there_and_has_a_section() -> None:
    assert list(SCRIPTS) == list(report.SECTIONS)
    for name in SCRIPTS:
        assert importlib.util.find_spec(f"benchmarks.{name}") is not None


@pytest.mark.parametrize("page", [PAGE, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
def test_commands_that_pages_name_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for words in re.findall(r"python -m benchmarks((?: --[a-z-]+)*)(?=`)", text):
        parser().parse_args(words.split())
    for name in re.findall(r"python -m benchmarks\.(\w+)", text):
        assert importlib.util.find_spec(f"benchmarks.{name}") is not None, name
    assert "python -m benchmarks" in text or page != PAGE
    assert report.COMMAND.removeprefix("python ") in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_names_of_servers_are_their_own() -> None:
    names = [each.name for each in (FITSERVE, EMPTY, *PEERS)]
    assert len(names) == len(set(names))


def test_results_are_read_back(tmp_path: Path) -> None:
    (tmp_path / "chaos.json").write_text('{"kills": {"failed": 0}}')
    assert saved(tmp_path) == {"chaos": {"kills": {"failed": 0}}}
