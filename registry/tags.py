"""Tags and properties: text by key, as they are written and as they are looked for."""

from collections.abc import Mapping, Sequence

from registry.errors import InvalidArgument

#: ``"key"``, ``{key: value}``, or keys and ``[key, value]`` pairs, all of which must fit.
Filter = str | Mapping[str, object] | Sequence[str | Sequence[object]]


def fits(values: Mapping[str, str], wanted: Filter | None) -> bool:
    """Whether tags or properties have what is wanted; None fits everything."""
    if isinstance(wanted, Mapping):
        wanted = [list(item) for item in wanted.items()]
    for item in [wanted] if isinstance(wanted, str) else wanted or ():
        key, *value = [item] if isinstance(item, str) else item
        if key not in values or (value and values[str(key)] != str(value[0])):
            return False
    return True


def as_text(what: str, values: Mapping[str, object] | None) -> dict[str, str]:
    """Convert the values of tags and properties to text.

    Raises:
        InvalidArgument: it is not a dictionary with names for keys.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping) or not all(isinstance(key, str) and key for key in values):
        raise InvalidArgument(what, "they must be a dictionary whose keys are text")
    return {key: value if isinstance(value, str) else str(value) for key, value in values.items()}


def immutable(old: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """`old` with `more`.

    Raises:
        InvalidArgument: a key is there with another value.
    """
    for key, value in more.items():
        if old.get(key, value) != value:
            raise InvalidArgument(
                "properties", f"{key!r} is {old[key]!r} and cannot be changed; use a tag for what changes"
            )
    return {**old, **more}
