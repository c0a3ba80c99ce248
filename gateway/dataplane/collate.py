"""Combines the inputs of several requests into the input of one frame, and tells whether an answer can be split
again."""

import itertools
from collections.abc import Sequence
from typing import cast

import numpy as np

from gateway.types import (
    Array,
    ArrayInput,
    ColumnsInput,
    DescribedInput,
    ListInput,
    Output,
    RowsInput,
    ScoreRequest,
    Table,
)

#: Inputs that can be sent as they are.
ReadyInputs = ArrayInput | ColumnsInput | ListInput | DescribedInput


def join(requests: Sequence[ScoreRequest]) -> ReadyInputs | None:
    """The rows of all requests, in order, as one input. All have the same key, so kinds and dtypes agree.

    Gives None when rows that came as JSON must be looked at one request at a time (see `settle_alone`).

    Raises:
        registry.errors.CallerError: a lone request's rows do not fit; never for several.
    """
    first = requests[0].inputs
    if isinstance(first, RowsInput):
        if len(requests) == 1:
            return ArrayInput(first.reader.alone(first.rows))
        lists = [cast(RowsInput, request.inputs).rows for request in requests]
        array = first.reader.together(list(itertools.chain.from_iterable(lists)))
        return None if array is None else ArrayInput(array)
    if len(requests) == 1:
        return first
    if isinstance(first, ArrayInput):
        return ArrayInput(np.concatenate([cast(ArrayInput, request.inputs).array for request in requests]))
    if isinstance(first, ColumnsInput):
        parts = [cast(ColumnsInput, request.inputs).columns for request in requests]
        return ColumnsInput(first.names, [_concatenate(columns) for columns in zip(*parts, strict=True)])
    values = [cast(ListInput, request.inputs).values for request in requests]
    return ListInput(list(itertools.chain.from_iterable(values)))


def _concatenate(columns: Sequence[Array]) -> Array:
    return np.concatenate(columns)


def settle_alone(request: ScoreRequest) -> None:
    """Turn the rows of one request into an array, with a key that only requests with the same dtype and width share.

    Raises:
        registry.errors.CallerError: the rows do not fit.
    """
    if isinstance(request.inputs, RowsInput):
        array = request.inputs.reader.alone(request.inputs.rows)
        request.inputs = ArrayInput(array)
        request.key = (request.method, "array", array.dtype.str, array.shape[1:], request.checked)


def splits(output: Output, rows: int) -> bool:
    """Whether the first dimension of every part of an answer is `rows`, so that it can be split among callers."""
    if isinstance(output, np.ndarray):
        return output.ndim > 0 and output.shape[0] == rows
    if isinstance(output, Table):
        return bool(output.array.shape[0] == rows)
    return bool(output) and all(splits(part, rows) for part in output)
