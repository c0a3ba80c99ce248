"""Each security requirement, and each lesson from how other servers failed, is named by the docstring of a test of ours.

The numbers R1 to R18 stand for: loopback and keys; nothing registered by URL; scoring keys apart; default deny; no field is a path;
strict names; Host allow-list; no shells; hashed keys; no unpickling outside the child; no pickle on a wire; bounded bodies; the matched
route decides; archives; generated files; quiet errors; no training over HTTP; the declared format decides. R19, a sandbox, comes later.
"""

import ast
import re
from pathlib import Path
from typing import Final

LESSONS: Final = (
    "limits", "CPU quota without thread caps", "single rows of forests", "batching that punishes a lone caller", "two workers, 44 ms",
    "big JSON", "batching that lost or mixed answers", "dead workers", "no bound, no deadline", "reload", "versions", "columns",
    "probabilities and labels", "memory of many models", "slow and opaque deployment",
)  # fmt: skip


def docstrings() -> str:
    """Of all tests, each on one line."""
    found = []
    for file in sorted(Path(__file__).parent.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.append(" ".join((ast.get_docstring(node) or "").split()))
    return "\n".join(found)


def test_every_requirement_names_a_test() -> None:
    named = {int(number) for number in re.findall(r"\bR(\d{1,2})\b", docstrings())}
    assert {*range(1, 19)} - named == set()


def test_every_lesson_names_a_test() -> None:
    told = docstrings()
    assert [lesson for lesson in LESSONS if f"Lesson: {lesson}" not in told] == []
