"""A conversion under way: what the old file says, what became of each field, what is left.

The rules of `pipeline_model` and `pipeline_training` speak in the verbs of this module.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from helpers.models.pipeline.fields import Known
from helpers.models.pipeline.prototext import Leaf, show

TAKEN = "taken over"
APPROXIMATED = "approximated"
NONE = "no counterpart"
OUTCOMES = (TAKEN, APPROXIMATED, NONE)

# The key of what Model Garden does in any case.
BUILT_IN = "built in"

MODEL = "task.model"
PARSER = "task.train_data.parser"


@dataclass(frozen=True)
class Row:
    """What became of one field of the file.

    Attributes:
        field: its path, such as "model.ssd.num_classes".
        line: where it stands, from 1.
        value: what the file says, as text.
        outcome: one of OUTCOMES.
        key: the keys of the config that it set, with their new value; "" for none.
        remark: how it was approximated, or what to do instead.
    """

    field: str
    line: int
    value: str
    outcome: str
    key: str
    remark: str


@dataclass(frozen=True)
class Mistake:
    """Something in the file that never worked; `remark` says what the config got instead.

    `line` is None for a part that is missing.
    """

    field: str
    line: int | None
    remark: str


@dataclass(frozen=True)
class Report:
    """What became of a file: its `path`, the `preset` it became, `rows` and `mistakes`."""

    path: str
    preset: str
    rows: tuple[Row, ...]
    mistakes: tuple[Mistake, ...]

    def __str__(self) -> str:
        counts = {name: sum(row.outcome == name for row in self.rows) for name in OUTCOMES}
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        lines = [f"{self.path} -> preset {self.preset}: {len(self.rows)} fields, {said}"]
        for outcome in OUTCOMES:
            rows = [row for row in self.rows if row.outcome == outcome]
            lines += [f"\n{outcome} ({len(rows)})"] * bool(rows)
            for row in rows:
                become = f" -> {row.key}" if row.key else ""
                remark = f"  ({row.remark})" if row.remark else ""
                lines.append(f"  {self.path}:{row.line}: {row.field}: {row.value}{become}{remark}")
        lines += [f"\nmistakes in the file ({len(self.mistakes)})"] * bool(self.mistakes)
        for mistake in self.mistakes:
            place = self.path if mistake.line is None else f"{self.path}:{mistake.line}"
            lines.append(f"  {place}: {mistake.field}: {mistake.remark}")
        return "\n".join(lines)


@dataclass
class Draft:
    """A conversion under way: what the file says, what is settled, what the config gets."""

    path: str
    kind: str
    leaves: dict[str, Leaf]
    known: dict[str, Known | None]
    preset: str = ""
    base: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)


def below(prefix: str, leaves: dict[str, Leaf]) -> list[Leaf]:
    """The leaves at and below a path."""
    return [
        leaf for path, leaf in leaves.items() if re.match(rf"{re.escape(prefix)}([.\[]|$)", path)
    ]


def get(draft: Draft, path: str, default=None):
    """The value of a field of the file; `default` where it has none."""
    return draft.leaves[path].value if path in draft.leaves else default


def now(draft: Draft, key: str):
    """The value of a key of the config as it stands."""
    return draft.changes.get(key, draft.base.get(key))


def put(draft: Draft, path: str, outcome: str, key: str, remark: str) -> None:
    """Enter what became of a field, once: the first to enter it counts."""
    if path in draft.leaves and path not in draft.rows:
        leaf = draft.leaves[path]
        draft.rows[path] = Row(path, leaf.line, show(leaf.value), outcome, key, remark)


def take(draft: Draft, path: str, *keys: str, value=None, remark: str = "") -> None:
    """Set the keys to the field's value, or to `value`, which says the same in other words."""
    if path not in draft.leaves:
        return
    value = get(draft, path) if value is None else value
    settled = [key for key in keys if draft.changes.get(key, value) != value]
    if settled:
        stays = pair(settled[:1], draft.changes[settled[0]])
        put(draft, path, APPROXIMATED, stays, "one for the whole model: what came first")
        return
    draft.changes.update(dict.fromkeys(keys, value))
    put(draft, path, TAKEN, pair(keys, value), remark)


def take_if(draft: Draft, path: str, value, *keys: str) -> None:
    """As `take`, where the file says just `value`."""
    if get(draft, path) == value:
        take(draft, path, *keys)


def approximate(draft: Draft, path: str, *keys: str, value, remark: str) -> None:
    """Set the keys to what comes nearest."""
    if path in draft.leaves:
        draft.changes.update(dict.fromkeys(keys, value))
        put(draft, path, APPROXIMATED, pair(keys, value), remark)


def pair(keys, value) -> str:
    """Keys and their new value, as a report shows them."""
    return f"{', '.join(keys)}: {show(value)}"


def no_counterpart(draft: Draft, path: str, remark: str) -> None:
    """Enter what to do instead."""
    put(draft, path, NONE, "", remark)


def mistaken(draft: Draft, path: str, remark: str) -> None:
    """Note a mistake at a field, or at a part that is missing."""
    leaf = draft.leaves.get(path)
    draft.mistakes.append(Mistake(path, leaf.line if leaf else None, remark))


def readers(draft: Draft) -> list[str]:
    """Paths of the readers, that of training first."""
    found = [re.match(r"eval_input_reader(\[\d+\])?", path) for path in draft.leaves]
    return list(dict.fromkeys(["train_input_reader", *(match[0] for match in found if match)]))
