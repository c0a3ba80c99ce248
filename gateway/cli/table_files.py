"""Rows in files and JSON, a part at a time, and answers into files."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import orjson

from registry.errors import InvalidArgument, MissingExtra

INPUTS: Final = (".json", ".jsonl", ".csv", ".parquet", ".npy")
OUTPUTS: Final = (".csv", ".jsonl", ".parquet")


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


def read_rows(text: str, stdin: IO[str]) -> Rows:
    """Rows from JSON text, from ``-`` (JSON on standard input), or from a .json, .jsonl, .csv, .parquet or .npy file.

    Raises:
        InvalidArgument: it is neither JSON nor a file that can be read.
        MissingExtra: Parquet, without pyarrow.
    """
    if text == "-":
        return _from_json(stdin.read(), "standard input")
    path = Path(text)
    if path.suffix.lower() not in INPUTS:
        return _from_json(text, "DATA")
    if not path.is_file():
        raise InvalidArgument("DATA", f"there is no file {text}")
    try:
        return _from_file(path)
    except (ValueError, OSError) as error:  # also pandas' own: they are ValueErrors
        reason = " ".join(str(error).split())[:200]
        raise InvalidArgument("DATA", f"{text} cannot be read as {path.suffix.lower()}: {reason}") from error
    except ImportError:
        raise MissingExtra("pyarrow", "parquet", path.name) from None


def _from_file(path: Path) -> Rows:
    match path.suffix.lower():
        case ".json":
            return _from_json(path.read_text(encoding="utf-8"), path.name)
        case ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            return Rows([_json(line, path.name) for line in lines if line.strip()])
        case ".npy":
            import numpy as np

            return Rows(np.load(path, mmap_mode="r", allow_pickle=False))
    import pandas as pd

    return Rows(pd.read_csv(path) if path.suffix.lower() == ".csv" else pd.read_parquet(path))


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
                self._several = {key: isinstance(part, list) and len(part) != rows for key, part in body.items()}
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


def write_answers(answers: Answers, path: Path) -> None:
    """As CSV, JSON lines or Parquet, by the ending of `path`; one row an input row.

    Raises:
        InvalidArgument: another ending.
        MissingExtra: Parquet, without pyarrow.
    """
    columns = answers.columns()
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
    if path.suffix.lower() not in OUTPUTS:
        raise InvalidArgument("--output", f"{path.name} is none of {', '.join(OUTPUTS)}")
