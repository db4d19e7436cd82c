"""A conversion under way: what the old file says, what became of each field, what is left.

The rules of `model`, `training` and `rate` speak in the verbs of `Draft`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from helpers.common.prototext import Leaf, show
from helpers.models.pipeline.fields import Known

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
    """What became of a file: its `path`, the `preset` it became, `rows` and `mistakes`.

    As a string it is the report to read: all rows by outcome, then the mistakes.
    """

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
    """A conversion under way.

    Attributes:
        path: of the file.
        kind: "ssd" or "faster_rcnn".
        leaves: what the file says, by dotted path.
        known: what the old API knows of each of these; None for no such field.
        preset: the preset it becomes, whose settings are `base`.
        changes: what the config gets beyond the preset, by dotted key.
        rows, mistakes: of the report.
    """

    path: str
    kind: str
    leaves: dict[str, Leaf]
    known: dict[str, Known | None]
    preset: str = ""
    base: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def below(self, prefix: str) -> list[Leaf]:
        """Return the leaves at and below a path."""
        return leaves_below(prefix, self.leaves)

    def get(self, path: str, default: Any = None) -> Any:
        """Return the value of a field of the file; `default` where it has none."""
        return self.leaves[path].value if path in self.leaves else default

    def setting(self, key: str) -> Any:
        """Return the value of a key of the config as it stands."""
        return self.changes.get(key, self.base.get(key))

    def readers(self) -> list[str]:
        """Return the paths of the readers, that of training first."""
        found = [re.match(r"eval_input_reader(\[\d+\])?", path) for path in self.leaves]
        return list(dict.fromkeys(["train_input_reader", *(match[0] for match in found if match)]))

    def record(self, path: str, outcome: str, key: str, remark: str = "") -> None:
        """Record what became of a field, once: the first record counts."""
        if path in self.leaves and path not in self.rows:
            leaf = self.leaves[path]
            self.rows[path] = Row(path, leaf.line, show(leaf.value), outcome, key, remark)

    def take(self, path: str, *keys: str, value: Any = None, remark: str = "") -> None:
        """Set the keys to the field's value, or to `value`, which says the same in other words."""
        if path not in self.leaves:
            return
        value = self.get(path) if value is None else value
        settled = [key for key in keys if self.changes.get(key, value) != value]
        if settled:
            stays = assignment(settled[:1], self.changes[settled[0]])
            self.record(path, APPROXIMATED, stays, "one for the whole model: what came first")
            return
        self.changes.update(dict.fromkeys(keys, value))
        self.record(path, TAKEN, assignment(keys, value), remark)

    def approximate(self, path: str, *keys: str, value: Any, remark: str) -> None:
        """Set the keys to the value that comes nearest to the field's."""
        if path in self.leaves:
            self.changes.update(dict.fromkeys(keys, value))
            self.record(path, APPROXIMATED, assignment(keys, value), remark)

    def built_in(self, path: str, remark: str = "") -> None:
        """Record that Model Garden does in any case what the field says."""
        self.record(path, TAKEN, BUILT_IN, remark)

    def no_counterpart(self, path: str, remark: str) -> None:
        """Record what to do instead."""
        self.record(path, NONE, "", remark)

    def note_mistake(self, path: str, remark: str, *, group: str = "") -> None:
        """Note a mistake at a field; at its `group` where the file lacks the field."""
        path = path if path in self.leaves or not group else group
        leaf = self.leaves.get(path)
        self.mistakes.append(Mistake(path, leaf.line if leaf else None, remark))


def leaves_below(prefix: str, leaves: dict[str, Leaf]) -> list[Leaf]:
    """Return the leaves at and below a path."""
    inside = re.compile(rf"{re.escape(prefix)}([.\[]|$)")
    return [leaf for path, leaf in leaves.items() if inside.match(path)]


def assignment(keys: Sequence[str], value: Any) -> str:
    """Return keys and their new value, as a report shows them."""
    return f"{', '.join(keys)}: {show(value)}"
