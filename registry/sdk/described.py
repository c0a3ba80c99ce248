"""Described: what a model version and a service say of themselves in the same words."""

from datetime import datetime
from typing import Generic, TypeVar

from registry.records import ModelVersion, ServiceRecord

R = TypeVar("R", ModelVersion, ServiceRecord)


class Described(Generic[R]):
    """Shows `_record`, as it was when the object last read it."""

    _record: R

    @property
    def record(self) -> R:
        """All that is known of it, as it was when this object last read it."""
        return self._record

    @property
    def name(self) -> str:
        return self._record.name

    @property
    def tags(self) -> dict[str, str]:
        return dict(self._record.tags)

    @property
    def properties(self) -> dict[str, str]:
        return dict(self._record.properties)

    @property
    def description(self) -> str | None:
        return self._record.description

    @property
    def created_time(self) -> datetime:
        return self._record.created_time
