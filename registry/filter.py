"""Which registered versions fit what was asked for."""

from collections.abc import Mapping, Sequence

from registry.records import ModelVersion

Filter = (
    str | Mapping[str, object] | Sequence[str | Sequence[object]]
)  # "key", {key: value}, or keys and [key, value] pairs


def fitting(
    records: Sequence[ModelVersion],
    tags: Filter | None,
    properties: Filter | None,
    run_id: str | None,
    framework: str | None,
    version: int | None,
) -> Sequence[ModelVersion]:
    """In the order given. None fits everything."""
    return [
        record
        for record in records
        if fits(record.tags, tags)
        and fits(record.properties, properties)
        and run_id in (None, record.run_id)
        and framework in (None, record.framework)
        and version in (None, record.version)
    ]


def fits(values: Mapping[str, str], wanted: Filter | None) -> bool:
    """Whether tags or properties have what is wanted; None fits everything."""
    if isinstance(wanted, Mapping):
        wanted = [list(item) for item in wanted.items()]
    for item in [wanted] if isinstance(wanted, str) else wanted or ():
        key, *value = [item] if isinstance(item, str) else item
        if key not in values or (value and values[str(key)] != str(value[0])):
            return False
    return True
