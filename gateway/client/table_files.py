"""Rows in files, JSON and memory, sent a part at a time, and answers into files: `fitserve score` and `Webservice.run`."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, cast

import orjson
from tqdm import tqdm

from gateway.errors import InvalidRequest
from gateway.schema.columns import Column, ColumnType
from gateway.schema.csv_reader import read_csv, table_of
from registry.errors import FitserveError, InvalidArgument, MissingExtra

INPUTS: Final = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".npy")
_CSV: Final = (".csv", ".tsv")
OUTPUTS: Final = (".csv", ".jsonl", ".parquet")
PART_ROWS: Final = 5_000
_TOO_LARGE: Final = 413

#: Of a service's or model's document: the type of each column by its name; {} where it tells none.
Types = Mapping[str, str]


@dataclass
class Rows:
    """What is to be scored. `rest` are the other keys of a whole body.

    `data` is a list, an array, a DataFrame, or a dict of one of JSON's tables.
    """

    data: Any
    rest: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many rows; 0 where that cannot be told, and all of it is sent at once."""
        data = self.data
        if not isinstance(data, dict):
            return len(data) if hasattr(data, "__len__") and not isinstance(data, str) else 0
        if isinstance(data.get("data"), list) and isinstance(data.get("columns"), list):
            return len(data["data"])
        lengths = {len(column) if isinstance(column, list) else -1 for column in data.values()}
        return max(0, lengths.pop()) if len(lengths) == 1 else 0

    def body(self, start: int, stop: int) -> bytes:
        """A request for rows `start` to `stop`."""
        data = self.data
        if not len(self):
            if hasattr(data, "shape"):
                raise InvalidArgument("DATA", "it holds no rows below the names of its columns")
            part = data
        elif isinstance(data, dict):
            if isinstance(data.get("columns"), list):
                part = {"columns": data["columns"], "data": data["data"][start:stop]}
            else:
                part = {name: column[start:stop] for name, column in data.items()}
        elif hasattr(data, "columns"):
            frame = data.iloc[start:stop].astype(object)
            part = {
                "columns": [str(name) for name in frame.columns],
                "data": frame.where(frame.notna(), None).to_numpy(),
            }
            part["data"] = part["data"].tolist()
        elif hasattr(data, "tolist"):
            part = data[start:stop].tolist()
        else:
            part = data[start:stop]
        try:
            return orjson.dumps({**self.rest, "data": part}, default=_as_text)
        except TypeError:  # integers of more than 64 bits
            return json.dumps({**self.rest, "data": part}, default=_as_text).encode()


def _as_text(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def column_types(document: Mapping[str, Any]) -> Types:
    """The types of named columns, from a model's or service's OpenAPI 3 document (``swagger.json?version=3.1``)."""
    try:
        rows = document["components"]["schemas"]["ServiceInput"]["properties"]["data"]["items"]
        properties: Mapping[str, Mapping[str, Any]] = rows.get("properties", {})
        return {name: _type_of(column) for name, column in properties.items()}
    except (KeyError, TypeError, AttributeError):
        return {}


def _type_of(column: Mapping[str, Any]) -> str:
    kind = column.get("type", "")
    return next((word for word in kind if word != "null"), "") if isinstance(kind, list) else str(kind)


def rows_of(value: Any, types: Types) -> Rows:
    """Rows from what a program has in its hands: an array, a DataFrame, lists, a whole body, or a path as `read_rows` takes it."""
    if isinstance(value, Path):
        return _from_path(value, types)
    if isinstance(value, dict) and "data" in value and "columns" not in value:
        return Rows(value["data"], {key: part for key, part in value.items() if key != "data"})
    return Rows(value)


def is_file(value: object) -> bool:
    """Whether `value` names a file of rows rather than being JSON itself."""
    if isinstance(value, Path):
        return True
    return isinstance(value, str) and value.lower().endswith(INPUTS) and not value.lstrip().startswith(("{", "["))


def is_csv(text: str) -> bool:
    """Whether `text` names a file whose fields are read by the types of the model's columns."""
    return is_file(text) and text.lower().endswith(_CSV)


def looks_like_json(text: str) -> bool:
    """Whether `text` begins as rows in JSON do, and not as CSV does."""
    return text.lstrip("\ufeff \t\r\n").startswith(("[", "{")) or not text.strip()


def read_rows(text: str, stdin: IO[str], types: Types) -> Rows:
    """Rows from JSON text, from ``-`` (JSON or CSV on standard input), or from a .json, .jsonl, .csv, .tsv, .parquet or .npy file.

    Args:
        types: how a CSV's fields are read.

    Raises:
        InvalidArgument: it is neither JSON nor a file that can be read.
        MissingExtra: Parquet, without pyarrow.
    """
    if text == "-":
        given = stdin.read()
        return _from_json(given, "standard input") if looks_like_json(given) else _from_csv(given.encode(), types)
    return _from_path(Path(text), types) if is_file(text) or _exists(text) else _from_json(text, "DATA")


def _exists(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # JSON that is too long for a name, or holds a NUL
        return False


def _from_path(path: Path, types: Types) -> Rows:
    if not path.is_file():
        raise InvalidArgument("DATA", f"there is no file {path}")
    if path.suffix.lower() not in INPUTS:
        raise InvalidArgument("DATA", f"the name of {path} ends in none of {', '.join(INPUTS)}")
    try:
        return _from_file(path, types)
    except (ValueError, OSError) as error:  # also pandas' own: they are ValueErrors
        reason = " ".join(str(error).split())[:200]
        raise InvalidArgument("DATA", f"{path} cannot be read as {path.suffix.lower()}: {reason}") from error
    except ImportError:
        raise MissingExtra("pyarrow", "parquet", path.name) from None


def _from_file(path: Path, types: Types) -> Rows:
    match path.suffix.lower():
        case ".json":
            return _from_json(path.read_text(encoding="utf-8"), path.name)
        case ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            return Rows([_json(line, path.name) for line in lines if line.strip()])
        case ".npy":
            import numpy as np

            return Rows(np.load(path, mmap_mode="r", allow_pickle=False))
        case ".csv" | ".tsv":
            return _from_csv(path.read_bytes(), types)
    import pandas as pd

    return Rows(pd.read_parquet(path))


def _from_csv(content: bytes, types: Types) -> Rows:
    """As `text/csv` is read over HTTP: a header line or none, fields by the types of the model's columns."""
    columns = {name: Column(name, cast("ColumnType", kind)) for name, kind in types.items()}
    try:
        names, rows = table_of(read_csv(content), columns)
    except InvalidRequest as error:
        raise ValueError(str(error)) from None
    return Rows(rows if names is None else {"columns": list(names), "data": rows})


def _from_json(text: str, where: str) -> Rows:
    value = _json(text, where)
    if isinstance(value, dict) and ("data" in value and "columns" not in value):
        return Rows(value["data"], {key: part for key, part in value.items() if key != "data"})
    return Rows(value)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidArgument(where, f"not JSON: {error}; rows look like '[[5.1, 3.5, 1.4, 0.2]]'") from None


def in_parts(post: Callable[[bytes, str], bytes], given: Rows, rows: int = PART_ROWS) -> "Answers":
    """All of `given`, in parts of `rows`, or of fewer where the gateway says that a part is too large; with a bar on a terminal.

    Args:
        post: sends one body and gives the answer's; gets which rows of all they are, as the beginning of a sentence, empty for all. Its
            errors have the answer's `status`.
    """
    answers, start, total = Answers(), 0, len(given)
    with tqdm(total=total, unit=" rows", leave=False, disable=None if total > rows else True) as bar:
        while start < max(total, 1):
            stop = min(start + rows, total)
            where = f"rows {start:,} to {stop - 1:,} of all (counted from 0): " if stop - start < total else ""
            try:
                answer = post(given.body(start, stop), where)
            except FitserveError as refused:
                if getattr(refused, "status", None) != _TOO_LARGE or stop - start < 2:
                    raise
                rows = (stop - start) // 2
                continue
            answers.add(orjson.loads(answer), stop - start)
            bar.update(stop - start)
            start = max(stop, 1)
    return answers


class Answers:
    """Answers to consecutive parts, put together in order. A method that gives several arrays keeps them apart."""

    def __init__(self) -> None:
        self.body: Any = None
        self._several: dict[str, bool] = {}

    def add(self, body: Any, rows: int) -> None:
        """`body`, as JSON gave it, answers so many `rows`."""
        if self.body is None:
            self.body = body
            if isinstance(body, dict):
                self._several = {
                    key: isinstance(part, list) and len(part) != rows and all(isinstance(array, list) for array in part)
                    for key, part in body.items()
                }
            return
        if isinstance(body, list):
            self.body.extend(body)
            return
        for key, part in body.items():
            if key == "classes":
                continue
            if self._several[key]:
                for mine, more in zip(self.body[key], part, strict=True):
                    mine.extend(more)
            else:
                self.body[key].extend(part)

    def columns(self) -> dict[str, list[Any]]:
        """One flat column for each column of each array: ``predict``, ``predict_proba_0``, …, ``kneighbors_0_1``."""
        found: dict[str, list[Any]] = {}
        body = self.body if isinstance(self.body, dict) else {"answer": self.body}
        for key, part in body.items():
            if key != "classes" and isinstance(part, list):
                for number, array in enumerate(part) if self._several.get(key) else [(None, part)]:
                    found.update(_flat(key if number is None else f"{key}_{number}", array))
        return found


def _flat(name: str, values: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    if values and all(isinstance(value, list) for value in values) and len({len(value) for value in values}) == 1:
        for index, column in enumerate(zip(*values, strict=True)):
            yield from _flat(f"{name}_{index}", list(column))
    else:
        yield name, values


def write_answers(answers: Answers, path: Path, rows: int | None = None) -> None:
    """As CSV, JSON lines or Parquet, by the ending of `path`; one row an input row.

    Args:
        rows: how many were sent.

    Raises:
        InvalidArgument: another ending, or another number of answers.
        MissingExtra: Parquet, without pyarrow.
    """
    columns = answers.columns()
    if rows is not None and (odd := {len(values) for values in columns.values()} - {rows}):
        raise InvalidArgument(
            "output", f"{rows:,} rows were sent and {min(odd):,} were answered: the answers do not belong to rows"
        )
    if path.suffix.lower() == ".jsonl":
        with path.open("wb") as file:
            for row in zip(*columns.values(), strict=True):
                file.write(orjson.dumps(dict(zip(columns, row, strict=True))) + b"\n")
        return
    import pandas as pd

    frame = pd.DataFrame(columns)
    if path.suffix.lower() == ".csv":
        frame.to_csv(path, index=False)
        return
    try:
        frame.to_parquet(path, index=False)
    except ImportError:
        raise MissingExtra("pyarrow", "parquet", path.name) from None


def check_output(path: Path) -> None:
    """Raises InvalidArgument: nothing can be written there."""
    if not path.parent.is_dir():
        raise InvalidArgument("output", f"there is no folder {path.parent}")
    if path.suffix.lower() not in OUTPUTS:
        raise InvalidArgument("output", f"{path.name} is none of {', '.join(OUTPUTS)}")
