"""One object of a model that comes in several: what it can be in a chain. Facts come from `gateway.worker.parts`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

from registry.records import Json

#: A scaler is the target's when its name says so: scaler_y.pkl, y_scaler, target_transformer.
_TARGET: Final = re.compile(r"(^|[_\W])(y|target|label|price|output)s?([_\W]|$)", re.IGNORECASE)
_ENCODER_WORDS: Final = re.compile(r"(^|[_\W])(le|label|labels|encoder|enc|lbl)(?=[_\W]|$)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Part:
    """An object in a file, or a member of a dict, tuple or list in it.

    `width` and `gives` count columns; None where the object does not say. `names` are the columns that it was fitted with.
    """

    id: str
    file: str
    key: str | int | None
    class_name: str
    module: str
    roles: Sequence[str] = ()
    takes: str = "numbers"  # numbers, columns or text
    width: int | None = None
    names: Sequence[str] | None = None
    gives: int | None = None
    keeps: bool = False  # gives one column for each that it takes
    selects: bool = False  # takes its columns by name out of more
    inverse: bool = False
    estimator_type: str | None = None
    classes: Sequence[Any] | None = None
    values: Sequence[str] = ()  # of a list of names
    columns: Mapping[str, Any] = field(
        default_factory=dict
    )  # of a dict of encoders: their classes; of mappings: values
    fitted: bool = True
    print: str | None = None  # of a step: the same for an equal one
    inside: Mapping[str, str] = field(default_factory=dict)  # class → print of the steps that a model holds
    problem: str | None = None

    @classmethod
    def from_facts(cls, facts: Mapping[str, Json]) -> "Part":
        known: dict[str, Any] = {"class_name": facts.get("class", "?"), "module": facts.get("module", ""), **facts}
        return cls(**{key: value for key, value in known.items() if key in cls.__dataclass_fields__})

    @property
    def name(self) -> str:
        """The words that its owner called it by."""
        return str(self.key) if isinstance(self.key, str) else PurePath(self.file).stem

    @property
    def is_of_target(self) -> bool:
        """A step that scaled the target, of one column, which is undone after the model."""
        return "stage" in self.roles and self.inverse and self.width == 1 and bool(_TARGET.search(self.name))

    @property
    def may_be_of_a_column(self) -> bool:
        """An encoder that is called by more than its kind: gender_encoder.pkl, and not label_encoder.pkl."""
        rest = _ENCODER_WORDS.sub(" ", self.name).strip(" _-.0123456789")
        return bool(rest) and not _TARGET.search(f"_{rest}_") and rest.lower() not in ("class", "classes")

    def column_of(self, columns: Sequence[str]) -> str | None:
        """The one of `columns` that this encoder's name names: le_city.pkl, city_encoder.pkl."""
        rest = _ENCODER_WORDS.sub(" ", self.name).strip(" _-.").lower()
        found = [column for column in columns if column.lower() == rest]
        return found[0] if len(found) == 1 else None

    @property
    def flow(self) -> str:
        """What goes in and what comes out, for a person."""
        if "names" in self.roles:
            return f"names of {counted(len(self.values), 'column')}"
        if "labels" in self.roles:
            return f"0…{len(self.classes or ()) - 1} → {few(self.classes or ())}"
        if "encoders" in self.roles or "maps" in self.roles:
            return f"values of {few(list(self.columns))} → numbers"
        taken = "text" if self.takes == "text" else "?" if self.width is None else f"{self.width:,}"
        if "model" in self.roles:
            return f"{taken} → {few(self.classes) if self.classes else self.estimator_type or 'answers'}"
        return f"{taken} → {'?' if self.gives is None else f'{self.gives:,}'}"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def few(values: Sequence[Any], most: int = 4) -> str:
    shown = ", ".join(str(value) for value in values[:most])
    return shown if len(values) <= most else f"{shown} … ({len(values):,})"
