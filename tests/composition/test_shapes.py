"""Each shape in which people keep a model of several objects is served as its owner's own code answers, or refused."""

import hashlib
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gateway.worker import chain, loading, parts
from registry.composition.files import gather
from registry.composition.parts import Part
from registry.composition.plan import Plan
from registry.composition.search import CannotCompose, find_plan
from tests.composition.shapes import Shape, shapes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of names, as their owners' code gives them
    SHAPES = shapes()
SERVED = {name: shape for name, shape in SHAPES.items() if shape.right is not None}
pytestmark = pytest.mark.filterwarnings("ignore")
REFUSED = {name: shape for name, shape in SHAPES.items() if shape.right is None}


def plan_of(shape: Shape, folder: Path) -> Plan:
    """Found as the command finds it, but in this process."""
    shape.save(folder)
    files = gather([folder])
    objects = [(file.name, str(file.path)) for file in files if file.facts is not None]
    found = [Part.from_facts(facts) for facts in parts.look(objects, "")]
    names = [file for file in files if file.names is not None]
    found += [
        Part(id=f.name, file=f.name, key=None, class_name="JSON", module="", roles=("names",), values=f.names or ())
        for f in names
    ]
    return find_plan(found, shape.choices)


def digest_of(folder: Path) -> str:
    listed = {}
    for name in sorted(os.listdir(folder)):
        data = (folder / name).read_bytes()
        listed[name] = [hashlib.sha256(data).hexdigest(), len(data)]
    text = loading.MANIFEST + b'"files":' + json.dumps(listed, separators=(",", ":")).encode() + b"}"
    return hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize("name", SERVED)
def test_it_answers_as_its_owner_does(name: str, tmp_path: Path) -> None:
    shape = SERVED[name]
    plan = plan_of(shape, tmp_path)
    model, _ = chain.load_chain(str(tmp_path), digest_of(tmp_path), json.loads(json.dumps(plan.to_json())))
    given = shape.rows
    if plan.names is None and isinstance(given, pd.DataFrame):
        pytest.fail("the plan does not know the names of its columns")
    if isinstance(given, pd.DataFrame):
        given = given[list(plan.names or ())]
    if shape.names is not None:
        assert list(plan.names or ()) == shape.names
        if all(step.do == "stage" for step in plan.steps):
            given = given.to_numpy()  # as the child gives rows to a model that was fitted without names
    answer, right = getattr(model, shape.method)(given), shape.right and shape.right(shape.rows)
    assert np.array_equal(np.asarray(answer), np.asarray(right))


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_what_decides(name: str, tmp_path: Path) -> None:
    with pytest.raises(CannotCompose) as refusal:
        plan_of(REFUSED[name], tmp_path)
    for word in REFUSED[name].words:
        assert word in str(refusal.value), str(refusal.value)
