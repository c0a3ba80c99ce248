"""Outputs of the Open Inference Protocol: which were asked for, and how each is written.

Each output is a method of the model. Several in one request are computed for the same rows in one frame, so by one version. Besides
methods ``classes`` can be asked for. Parameters of an asked output: ``binary_data``, and Triton's ``classification`` (the best so many
classes of each row as texts ``score:index:label``). Unknown parameters are ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gateway.errors import InvalidRequest
from gateway.protocols.tensors import datatype_of, sendable, tensor_bytes, text_values
from gateway.schema.methods import check_method, default_method
from gateway.schema.rows import quoted
from gateway.schema.schema import FREE_METHODS
from gateway.types import Array, Output, Table, Target

CLASSES: Final = "classes"
SEVERAL: Final = ","  # between the methods of one frame, as the child takes them


@dataclass(frozen=True, slots=True)
class AskedOutput:
    """`name` is a method, or `CLASSES`. `best`: how many classes of each row, 0 for the numbers themselves."""

    name: str
    binary: bool
    best: int = 0
    part: int | None = None  # of a method that gives several arrays: only this one


def asked_outputs(outputs: Any, path_method: str | None, target: Target, binary: bool) -> tuple[AskedOutput, ...]:
    """What ``outputs`` of a request names; the default method where it names none.

    Args:
        binary: the form of those that say nothing of their own.

    Raises:
        InvalidRequest: an output is no method of this model, or does not go with the others.
    """
    if outputs in (None, []):
        method = path_method or default_method(target.methods, "open_inference", target.settings.get("default_method"))
        return (AskedOutput(method, binary),)
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise InvalidRequest("outputs must be a list of objects with a name")
    asked = tuple(_asked(output, target, binary) for output in outputs)
    names = [output.name for output in asked]
    places = [(output.name, output.part) for output in asked]
    if len(set(places)) != len(places):
        twice = next(name for name, part in places if places.count((name, part)) > 1)
        raise InvalidRequest(f"output {quoted(twice)} is asked for twice")
    if names == [CLASSES]:
        raise InvalidRequest(f"output '{CLASSES}' comes beside that of a method: {', '.join(target.methods)}")
    for name in names:
        if name in FREE_METHODS and len(asked) > 1:
            raise InvalidRequest(f"output {quoted(name)} takes other inputs than the rest: ask for it alone")
    return asked


def _asked(output: Mapping[str, Any], target: Target, binary: bool) -> AskedOutput:
    parameters = output.get("parameters")
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict):
        raise InvalidRequest("the parameters of an output must be an object")
    own = parameters.get("binary_data")
    name = output.get("name")
    form = own if isinstance(own, bool) else binary
    if name == CLASSES and target.description.get("classes"):
        return AskedOutput(CLASSES, form)
    best = parameters.get("classification", 0)
    if type(best) is not int or best < 0:
        raise InvalidRequest("the parameter classification of an output is a number of classes")
    method, dash, index = str(name).rpartition("-")
    if dash and method in target.methods and index.isdigit() and len(index) < 5:
        return AskedOutput(method, form, best, int(index))
    return AskedOutput(check_method(name, target.methods), form, best)


def with_classes(asked: tuple[AskedOutput, ...], target: Target) -> tuple[AskedOutput, ...]:
    """The same and the labels, in the form of the first, unless they are there already or the model has none."""
    if any(output.name == CLASSES for output in asked) or not target.description.get("classes"):
        return asked
    return (*asked, AskedOutput(CLASSES, asked[0].binary))


def methods_of(asked: Sequence[AskedOutput]) -> list[str]:
    """In the order in which they were asked for, each once; at least one."""
    return list(dict.fromkeys(output.name for output in asked if output.name != CLASSES))


def written(asked: Sequence[AskedOutput], given: Output, target: Target) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Output tensors as JSON knows them, in the order in which they were asked for, and the binary data behind them."""
    methods = methods_of(asked)
    parts: list[Any] = list(given) if len(methods) > 1 and isinstance(given, tuple) else [given]
    answers: dict[str, Output] = dict(zip(methods, parts, strict=True))
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for output in asked:
        named = _labels(target) if output.name == CLASSES else _arrays(output.name, answers[output.name])
        if output.part is not None:
            if output.part >= len(named):
                raise InvalidRequest(f"output {output.name} has {len(named)} arrays, counted from 0")
            named = [named[output.part]]
        for name, array in named:
            shown = _best(array, output, target) if output.best else array
            outputs.append(_written(name, shown, output.binary, binary))
    return outputs, binary


def _written(name: str, given: Array, as_binary: bool, binary: list[bytes]) -> dict[str, Any]:
    array = sendable(given, as_binary)
    output: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype_of(array)}
    if as_binary:
        binary.append(tensor_bytes(array))
        output["parameters"] = {"binary_data_size": len(binary[-1])}
    elif output["datatype"] == "BYTES":
        output["data"] = text_values(array)
    else:
        output["data"] = array.reshape(-1).tolist()
    return output


def _arrays(method: str, output: Output) -> list[tuple[str, Array]]:
    """One a method, several where it gives several."""
    if isinstance(output, Table):
        return [(method, output.array)]
    if isinstance(output, list | tuple):
        named = [_arrays(f"{method}-{index}", part) for index, part in enumerate(output)]
        return [pair for pairs in named for pair in pairs]
    return [(method, output)]


def _labels(target: Target) -> list[tuple[str, Array]]:
    """The class labels, of each output of the model; nothing for a model without."""
    classes = target.description.get("classes")
    if not classes:
        return []
    if isinstance(classes[0], list):
        return [(f"{CLASSES}-{index}", np.array(part)) for index, part in enumerate(classes)]
    return [(CLASSES, np.array(classes))]


def _best(scores: Array, output: AskedOutput, target: Target) -> Array:
    """The `output.best` largest of each row, largest first, as Triton's classification extension writes them."""
    labels = target.description.get("classes") or []
    if scores.ndim != 2 or scores.dtype.kind not in "fiu":
        raise InvalidRequest(f"output {quoted(output.name)} has no number for each class, so no classification")
    order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, : output.best]
    known = len(labels) == scores.shape[1] and not isinstance(labels[0], list)
    texts = np.empty(order.shape, object)
    for (row, place), index in np.ndenumerate(order):
        text = f"{scores[row, index]:f}:{index}"
        texts[row, place] = f"{text}:{labels[index]}" if known else text
    return texts
