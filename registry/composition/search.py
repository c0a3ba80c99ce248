"""Finding the one chain in which several objects fit together, by widths and names of columns alone.

A caller's columns go through encoders of single columns, then through the steps, each of all columns or of some in place, to the
model, whose answers become labels or are scaled back. Orders that do the same count as one. Nothing is guessed: where more than one
chain fits, or none, the owner has to say.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, Final

from registry.composition.parts import Part, counted, few
from registry.composition.plan import Plan, Step
from registry.errors import ArtifactError

MOST_STAGES: Final = 7
_HINT: Final = (
    "say which with --order FILE,FILE,…, or write the way from input to answer as a script: "
    "'fitserve entry-script FILE…' begins one, --entry-script serves it"
)


class CannotCompose(ArtifactError):
    """No chain fits, or more than one does; the sentence lists the files and what decides."""

    def __init__(self, problem: str, parts: Sequence[Part] = ()) -> None:
        listed = "".join(f"\n  {part.id}: {part.class_name}, {part.flow}" for part in parts)
        super().__init__(f"{problem}{listed}")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the owner says: the order of files or members, labels of the classes, what is done before and after."""

    order: Sequence[str] = ()
    labels: Sequence[str] = ()
    threshold: float | None = None
    dummies: Sequence[str] = ()
    before: str | None = None
    after: str | None = None
    maps: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def find_plan(parts: Sequence[Part], choices: Choices | None = None) -> Plan:
    """The chain of all `parts` that have a role.

    Raises:
        CannotCompose: none, or more than one; some object is not fitted; there is no model.
    """
    choices = choices or Choices()
    search = _Search(parts, choices)
    found = _distinct(search.plans())
    if len(found) == 1:
        return found[0]
    if found:
        orders = [" → ".join([*(step.part for step in p.steps if step.part), p.model]) for p in found]
        shown = "; ".join(orders[:3]) + ("; …" if len(orders) > 3 else "")
        raise CannotCompose(f"the files fit together in {len(found)} ways ({shown}); {_HINT}", search.used)
    raise CannotCompose(f"{search.why_not()}; {_HINT}", search.used)


def _distinct(plans: Iterator[Plan]) -> list[Plan]:
    """Each chain once. One whose columns have names stands for the same chain without."""
    found: dict[str, dict[tuple[str, ...] | None, Plan]] = {}
    for plan in plans:
        found.setdefault(repr((plan.steps, plan.after)), {}).setdefault(plan.names, plan)
    return [plan for each in found.values() for names, plan in each.items() if names is not None or len(each) == 1]


@dataclass(frozen=True)
class _State:
    """What is known of the columns at one place of the chain. `width` 0 with `text` means a list of texts."""

    names: tuple[str, ...] | None
    width: int | None
    text: bool = False


class _Search:
    def __init__(self, parts: Sequence[Part], choices: Choices) -> None:
        self.choices = choices
        for part in parts:
            if part.problem is not None:
                raise CannotCompose(f"{part.id}: {part.problem}")
            if part.roles and not part.fitted:
                raise CannotCompose(f"{part.id} holds a {part.class_name} that is not fitted")
        self.all = list(parts)
        self.model = self._model()
        self.of_target = [part for part in parts if part is not self.model and self._undone_after(part)]
        stages = [p for p in parts if p is not self.model and "stage" in p.roles and p not in self.of_target]
        self.stages = self._ordered(self._apart(stages))
        self.labels = [part for part in parts if "labels" in part.roles]
        self.encoders = [part for part in parts if "encoders" in part.roles]
        self.maps = [part for part in parts if "maps" in part.roles]
        self.names = [part for part in parts if "names" in part.roles]
        if len(self.stages) > MOST_STAGES and not choices.order:
            raise CannotCompose(
                f"{len(self.stages)} steps are more than can be tried in every order; {_HINT}", self.used
            )

    @property
    def used(self) -> list[Part]:
        return [part for part in self.all if part.roles]

    def _model(self) -> Part:
        models = [part for part in self.all if "model" in part.roles]
        if self.choices.order:
            last = self._named(self.choices.order[-1])
            if last not in models:
                raise CannotCompose(
                    f"--order ends with {last.id}, which has no predict: the model comes last", self.used
                )
            return last
        certain = [part for part in models if "stage" not in part.roles] or models
        if len(certain) == 1:
            return certain[0]
        if models:
            several = few([part.id for part in certain], 6)
            raise CannotCompose(f"{several} are models: register each by itself; or {_HINT}", self.used)
        stages = [part for part in self.all if "stage" in part.roles]
        if len(stages) == 1 and len(self.used) == 1:
            return stages[0]  # a fitted transformer is served by itself
        seen = ", ".join(f"{part.id} ({part.class_name})" for part in self.all)
        raise CannotCompose(f"there is no model among {seen}: nothing has a predict method")

    def _named(self, name: str) -> Part:
        found = [part for part in self.all if name in (part.id, part.file, part.key) or part.file.endswith("/" + name)]
        if len(found) != 1:
            what = "is none of them" if not found else "names several"
            raise CannotCompose(f"--order: {name} {what}: {', '.join(part.id for part in self.used)}")
        return found[0]

    def _ordered(self, stages: list[Part]) -> list[Part]:
        if not self.choices.order:
            return stages
        chosen = [self._named(name) for name in self.choices.order[:-1]]
        if missing := [part.id for part in stages if part not in chosen]:
            raise CannotCompose(
                f"--order leaves out {', '.join(missing)}: name every step, or leave the file out", self.used
            )
        return [part for part in chosen if part in stages]

    def _apart(self, stages: list[Part]) -> list[Part]:
        """Each step once, without those that the model holds inside itself.

        Raises:
            CannotCompose: the model holds one of the same class that learnt something else.
        """
        found: dict[str, Part] = {}
        for part in stages:
            inside = self.model.inside.get(part.class_name)
            named = {part.id, part.file, part.file.rpartition("/")[2]} & set(self.choices.order)
            if inside is not None and inside != part.print and not named:
                raise CannotCompose(
                    f"{self.model.id} holds a {part.class_name} inside, and {part.id} is another one; leave it out, or {_HINT}",
                    self.used,
                )
            if inside is None or named:
                found.setdefault(part.print or part.id, part)
        return list(found.values())

    def _undone_after(self, part: Part) -> bool:
        return part.is_of_target and self.model.estimator_type != "classifier" and part.id not in self.choices.order

    # chains

    def plans(self) -> Iterator[Plan]:
        after = self._after()
        orders = [tuple(self.stages)] if self.choices.order else permutations(self.stages)
        starts = self._starts()
        for order in orders:
            for start in starts:
                for steps in self._walk(start, order):
                    yield self._plan(start, _canonical(steps), after)

    def _starts(self) -> list[_State]:
        """What a caller may give: the columns that something was fitted with, or that a list of names says."""
        if any(part.takes == "text" for part in (*self.stages, self.model)):
            return [_State(None, None, text=True)]
        lists = {tuple(part.names): None for part in (self.model, *self.stages) if part.names}
        lists.update({tuple(part.values): None for part in self.names})
        states = [_State(names, len(names)) for names in lists]
        widths = {part.width for part in (*self.stages, self.model) if part.names is None and part.width}
        return [*states, *(_State(None, width) for width in sorted(widths))]

    def _walk(self, start: _State, order: Sequence[Part]) -> Iterator[list[Step]]:
        """The steps of each way through `order` from `start`; none where it does not fit."""
        begun = self._beginning(start, order)
        if begun is None:
            return
        steps, state = begun
        yield from self._through(state, list(order), steps, first=True)

    def _beginning(self, start: _State, order: Sequence[Part]) -> tuple[list[Step], _State] | None:
        """What is done to single columns before the first step; None where `start` is not what the chain takes."""
        steps: list[Step] = [] if self.choices.before is None else [Step("before", values=self.choices.before)]
        encoded = self._encoders_of(start.names or ())
        if encoded is None:
            return None
        names, listed = start.names, [tuple(part.values) for part in self.names]
        first = self._first(order)
        if names is None:
            unnamed = (
                not encoded
                and not self.choices.dummies
                and (start.text or all(len(each) != start.width for each in listed))
            )
            return (steps, start) if unnamed else None
        if self.choices.dummies:
            if not all(_made_of(column, names) for column in self.choices.dummies) or names not in (
                *listed,
                _tuple(first.names),
            ):
                return None
            return [*steps, *encoded, Step("dummies", None, tuple(self.choices.dummies), list(names))], start
        fitted_later = any(_tuple(part.names) == names for part in (*order, self.model))
        if first.names is None and names not in listed and not fitted_later:
            return None
        return [*steps, *encoded], start

    def _first(self, order: Sequence[Part]) -> Part:
        return order[0] if order else self.model

    def _encoders_of(self, names: tuple[str, ...]) -> list[Step] | None:
        """Steps for dicts of encoders, mappings, and encoders that are named like a column; None where they do not fit."""
        steps: list[Step] = []
        for part in (*self.encoders, *self.maps):
            extra = [column for column in part.columns if column not in names]
            if extra and not self._is_label_encoder(part, extra):
                return None
            columns = tuple(column for column in part.columns if column not in extra)
            if columns:
                steps.append(Step("encode" if "encoders" in part.roles else "map", part.id, columns))
        for part in self.labels:
            column = part.column_of(names)
            if column is not None:
                steps.append(Step("encode", part.id, (column,)))
            elif not self._are_labels(part.classes) and not self._knows_labels(part):
                return None
        if any(column not in names for column in self.choices.maps):
            return None
        if self.choices.maps:
            values = {column: dict(each) for column, each in self.choices.maps.items()}
            steps.append(Step("map", None, tuple(self.choices.maps), values))
        return steps

    def _is_label_encoder(self, part: Part, extra: Sequence[str]) -> bool:
        """Whether the one column of a dict of encoders that the model does not take is its target."""
        return len(extra) == 1 and "encoders" in part.roles and self._are_labels(part.columns[extra[0]])

    def _through(self, state: _State, rest: list[Part], steps: list[Step], first: bool) -> Iterator[list[Step]]:
        if not rest:
            if self._fits(self.model, state, first):
                yield steps
            return
        part, others = rest[0], rest[1:]
        if self._fits(part, state, first):
            yield from self._through(_after(part, state), others, [*steps, Step("stage", part.id)], first=False)
        for columns in self._in_place(part, state):
            step = Step("in_place", part.id, columns)
            yield from self._through(state, others, [*steps, step], first)

    def _fits(self, part: Part, state: _State, first: bool) -> bool:
        """Whether `part` takes what is there."""
        if part.takes == "text" or state.text:
            return part.takes == "text" and state.text
        if part.names is not None and state.names is not None:
            names = tuple(part.names)
            return set(names) <= set(state.names) if part.selects else names == state.names
        if part.names is not None and first:
            return False
        if part.width is not None and state.width is not None and part.width != state.width:
            return False
        if part.names is not None and state.names is None:
            # Names of what an earlier step gave, which its owner put on by hand (PC1, PC2 …): a caller's would have gone on.
            return not any(
                set(part.names) & set(start.names or ())
                for start in self._starts()
                if start.names != _tuple(part.names)
            )
        return part.width is not None or part.names is not None

    def _in_place(self, part: Part, state: _State) -> Iterator[tuple[str, ...]]:
        """The columns that `part` can change where they stand, the others left alone."""
        if state.names is None or not part.keeps:
            return
        if part.names is not None:
            names = tuple(part.names)
            if set(names) < set(state.names):
                yield names
            return
        for listed in self.names:  # a scaler without names, and a list that says which columns it scales
            names = tuple(listed.values)
            if len(names) == part.width and set(names) < set(state.names):
                yield names

    # after the model

    def _are_labels(self, classes: Sequence[Any] | None) -> bool:
        """Whether an encoder with these classes numbers what the model answers: 0 … k−1."""
        return classes is not None and list(self.model.classes or ()) == list(range(len(classes)))

    def _knows_labels(self, part: Part) -> bool:
        """Whether the model answers this encoder's labels by itself."""
        return self.model.classes is not None and list(self.model.classes) == list(part.classes or ())

    def _after(self) -> tuple[Step, ...]:
        steps: list[Step] = []
        choices, model = self.choices, self.model
        if choices.threshold is not None:
            if len(model.classes or ()) != 2:
                raise CannotCompose(
                    f"--threshold is for a model of two classes; {model.id} has {counted(len(model.classes or ()), 'class')}"
                )
            steps.append(Step("threshold", values=choices.threshold))
        if choices.labels:
            if len(choices.labels) != len(model.classes or ()):
                raise CannotCompose(
                    f"--labels gives {counted(len(choices.labels), 'label')}, and {model.id} answers {few(model.classes or ()) or 'numbers'}"
                )
            steps.append(Step("labels", values=list(choices.labels)))
        else:
            steps += self._labels_found()
        if len(self.of_target) > 1:
            raise CannotCompose(
                f"{few([p.id for p in self.of_target])} both scale the target; leave one out", self.used
            )
        steps += [Step("inverse", part.id) for part in self.of_target]
        if choices.after is not None:
            steps.append(Step("function", values=choices.after))
        return tuple(steps)

    def _labels_found(self) -> list[Step]:
        columns = [name for start in self._starts() for name in start.names or ()]
        parts = [p for p in self.labels if self._are_labels(p.classes) and p.column_of(columns) is None]
        found = [Step("labels", part.id) for part in parts]
        for part in self.encoders:
            extra = [column for column in part.columns if column not in columns]
            if self._is_label_encoder(part, extra):
                found.append(Step("labels", part.id, values={"key": extra[0]}))
        texts = any(stage.takes == "text" for stage in (*self.stages, self.model))
        for part in parts:
            if part.may_be_of_a_column and not columns and not texts:
                raise CannotCompose(
                    f"{part.id} may number the answers or a column, and nothing here says the names of the columns: if it numbers "
                    f"the answers, leave it out and give --labels {','.join(str(each) for each in part.classes or ())}",
                    self.used,
                )
        if len(found) > 1:
            raise CannotCompose(
                "more than one encoder fits the model's classes; leave one out, or give --labels", self.used
            )
        return found

    # for a person

    def _plan(self, start: _State, steps: tuple[Step, ...], after: tuple[Step, ...]) -> Plan:
        names = start.names
        if self.choices.dummies and names is not None:
            names = _before_dummies(names, self.choices.dummies)
        doing = [*(step.part for step in steps), self.model.id, *(step.part for step in after)]
        in_order = list(dict.fromkeys(id for id in doing if id is not None))
        known = {part.id: part for part in self.all}
        lists = {start.names, *(step.columns for step in steps)}
        told = [part for part in self.names if tuple(part.values) in lists]
        rows = [(part.id, part.class_name, part.flow) for part in told]
        rows += [(id, known[id].class_name, self._said(known[id], steps)) for id in in_order]
        idle = [part for part in self.all if part.id not in in_order and part not in told]
        rows += [(part.id, part.class_name, "not used") for part in idle]
        places = {id: (known[id].file, known[id].key) for id in in_order}
        return Plan(self.model.id, steps, after, names, places, tuple(rows))

    def _said(self, part: Part, steps: tuple[Step, ...]) -> str:
        """What this object does in the chain."""
        for step in steps:
            if step.part == part.id and step.do in ("in_place", "encode"):
                return (
                    f"{few(step.columns)} in place"
                    if step.do == "in_place"
                    else f"values of {few(step.columns)} → numbers"
                )
        return "answers scaled back" if part in self.of_target else part.flow

    def why_not(self) -> str:
        unmatched = [part for part in self.labels if not self._are_labels(part.classes)]
        if unmatched and not self.encoders:
            part = unmatched[0]
            return (
                f"{part.id} knows {counted(len(part.classes or ()), 'label')}, and {self.model.id} answers "
                f"{few(self.model.classes or ()) or 'numbers'}"
            )
        return "the files do not fit together"


def _after(part: Part, state: _State) -> _State:
    if part.keeps:
        return _State(state.names, part.gives if state.width is None else state.width)
    return _State(None, part.gives)


def _canonical(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Neighbours that change different columns in place do the same in either order: sort them."""
    listed = list(steps)
    changed = True
    while changed:
        changed = False
        for index in range(len(listed) - 1):
            one, two = listed[index], listed[index + 1]
            places = {one.do, two.do} <= {"in_place", "encode", "map"}
            if (
                places
                and not set(one.columns) & set(two.columns)
                and (one.do, one.part or "") > (two.do, two.part or "")
            ):
                listed[index], listed[index + 1] = two, one
                changed = True
    return tuple(listed)


def _made_of(column: str, names: Sequence[str]) -> bool:
    """Whether `pandas.get_dummies` made some of `names` of `column`: it puts them side by side.

    Raises:
        CannotCompose: they are not, so that one of them is another column whose name begins alike.
    """
    places = [index for index, name in enumerate(names) if name.startswith(f"{column}_")]
    if places and places != list(range(places[0], places[-1] + 1)):
        apart = ", ".join(names[index] for index in places)
        raise CannotCompose(
            f"--dummies {column}: {apart} do not stand side by side, so not all of them are values of {column}"
        )
    return bool(places)


def _before_dummies(names: Sequence[str], dummies: Sequence[str]) -> tuple[str, ...]:
    """The columns that a caller gives, where `names` are those after `pandas.get_dummies`."""
    made = {name for name in names for column in dummies if name.startswith(f"{column}_")}
    return (*dummies, *(name for name in names if name not in made))


def _tuple(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)
