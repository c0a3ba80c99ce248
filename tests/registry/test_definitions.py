"""What of a training script travels with a model that names its classes and functions."""

import textwrap
from typing import Any

import pytest

from registry.definitions import Definitions, definitions


def taken(script: str, *names: str) -> Definitions:
    return definitions(textwrap.dedent(script), names)


def ran(script: str, *names: str) -> dict[str, Any]:
    """The module that the definitions make."""
    found = taken(script, *names)
    assert not found.lacking
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(found.source, space)
    return space


SCRIPT = '''
"""Trains."""
import argparse
import numpy as np, pandas as pd
from math import sqrt
import matplotlib.pyplot as plt

parser = argparse.ArgumentParser()
args = parser.parse_args()
FACTOR = 2
UNITS = {"m": 1.0, "km": 1000 * FACTOR}
data = pd.read_csv("nothing.csv")
plt.plot(data)

def helper(x):
    # a comment stays
    return sqrt(x) * FACTOR

def clean(x):
    return helper(x) + UNITS["km"]

class Base:
    """Base."""
    scale = FACTOR

class Scaler(Base):
    def fit(self, X, y=None):
        self.mean_ = data.mean()
        return self

    def transform(self, X):
        return [clean(x) * self.scale for x in X]

if __name__ == "__main__":
    LATE = 3

    def late(x):
        return x * LATE
    model = Scaler().fit(data)
'''


def test_a_class_comes_with_all_that_it_uses_and_nothing_else() -> None:
    space = ran(SCRIPT, "Scaler")
    assert space["Scaler"]().transform([4.0]) == [(2 * 2 + 2000) * 2]
    found = taken(SCRIPT, "Scaler")
    assert found.modules == ("math",)
    assert "# a comment stays" in found.source
    assert not any(word in found.source for word in ("argparse", "read_csv", "plt", "late", "model ="))


def test_what_stands_below_the_main_guard_is_a_name_of_the_script_too() -> None:
    assert ran(SCRIPT, "late")["late"](2) == 6


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("import re\nWORDS = re.compile('a+')\ndef f(): return bool(WORDS.match('aa'))", True),
        ("A = [1]\nA += [2]\nA.append(3)\ndef f(): return A", [1, 2, 3]),
        ("A = {}\nA['x'] = 1\ndef f(): return A", {"x": 1}),
        ("A = 1\nA = 2\ndef f(): return A", 2),
        ("def f(): return 1\ndef f(): return 2", 2),
        ("A, (B, *C) = 1, (2, 3, 4)\ndef f(): return A, B, C", (1, 2, [3, 4])),
        (
            "try:\n    import nothing_of_that_name as fast\nexcept ImportError:\n    fast = None\ndef f(): return fast",
            None,
        ),
        ("import sys\nif sys.version_info > (3, 0):\n    A = 1\nelse:\n    A = 2\nB = 5\ndef f(): return B", 5),
        ("low = lambda x: x.lower()\ndef f(): return low('A')", "a"),
        ("from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2).y", 2),
        (
            "from dataclasses import dataclass, field\n@dataclass\nclass D:\n    a: int = 1\n    b: list = field(default_factory=list)\ndef f(): return D().a",
            1,
        ),
        ("import functools\n@functools.lru_cache(maxsize=None)\ndef f(): return 7", 7),
        ("def twice(g):\n    return lambda: 2 * g()\n@twice\ndef f(): return 3", 6),
        ("from __future__ import annotations\ndef f(x: Unknown = 1) -> Unknown: return x", 1),
        ("model = 1 + len(open(__file__).read())\ndef f():\n    model = 4\n    return model", 4),
        ("import enum\nclass Kind(enum.Enum):\n    A = 1\ndef f(kind=Kind.A): return kind.value", 1),
        ("A = 1; B = 2\ndef f(): return A + B", 3),
        ("class Outer:\n    class Inner:\n        x = 8\ndef f(): return Outer.Inner.x", 8),
        ("from os.path import *\ndef f(): return basename('a/b')", "b"),
        ("TEXT = '''\n  two\n'''\nif True:\n    def f(): return TEXT", "\n  two\n"),
        ("list = [3]\ndef f(): return list", [3]),
        ("def f(): return g()\ndef g(): return h\nh = -1.5 * 2 ** 3", -12.0),
        (
            "import numpy as np\nBINS = np.linspace(0, 1, 3).tolist()\ndef f(): return [round(x * np.pi) for x in BINS]",
            [0, 2, 3],
        ),
    ],
)
def test_what_can_be_carried(body: str, expected: Any) -> None:
    assert ran(body, "f")["f"]() == expected


@pytest.mark.parametrize(
    ("body", "name", "line"),
    [
        ("import pandas as pd\nframe = pd.read_csv('a.csv')\ndef f(): return frame", "frame", 2),
        ("import sys\nA = sys.argv[1]\ndef f(): return A", "A", 2),
        ("import os\nA = os.environ['X']\ndef f(): return A", "A", 2),
        ("A = []\nfor x in 'ab':\n    A.append(x)\ndef f(): return A", "A", 2),
        ("A = []\nB = open('b').read()\nA.append(B)\ndef f(): return A", "B", 2),
        ("for x in range(3): pass\ndef f(): return x", "x", 1),
        ("with open('a') as file:\n    words = file.read()\ndef f(): return words", "words", 2),
        ("import time\nA = time.time()\ndef f(): return A", "A", 2),
        ("A = 1\nif len(open('a').read()) > 3:\n    A = 2\ndef f(): return A", "A", 3),
        ("def main():\n    global table\n    table = {}\nmain()\ndef f(): return table", "table", 2),
        ("class C: pass\nC.words = open('a').read()\ndef f(): return C", "C", 2),
        ("from flask import Flask\napp = Flask('x')\n@app.route('/')\ndef f(): return 1", "app", 2),
        ("model = object()\nclass f:\n    def predict(self, X): return model", "model", 1),
    ],
)
def test_what_only_running_gives_is_told_by_name_and_line(body: str, name: str, line: int) -> None:
    found = taken(body, "f").lacking
    assert [(each.name, each.line) for each in found] == [(name, line)]


def test_names_that_the_script_does_not_define() -> None:
    found = taken(
        "class A:\n    class B: pass\ndef g():\n    def h(): pass\n    return h",
        "A.B",
        "A.C",
        "X",
        "g.<locals>.h",
        "<lambda>",
    )
    assert [(each.name, each.line) for each in found.lacking] == [
        (name, 0) for name in ("A.C", "X", "g.<locals>.h", "<lambda>")
    ]


def test_what_is_no_python() -> None:
    with pytest.raises(SyntaxError):
        taken("%matplotlib inline", "f")
