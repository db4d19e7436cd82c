"""Labels: those to learn, and those that are probably another one misspelt."""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from helpers.annotations.boxes import Annotation
from helpers.common.errors import CourseError


def check_list(labels: Sequence[str]) -> None:
    """Raise CourseError unless `labels` is a list of different labels, one at least.

    Here and wherever labels are compared, case, blanks and control characters do not count.
    """
    is_list = labels and not isinstance(labels, str)
    if not is_list or not all(isinstance(label, str) and tidy(label) for label in labels):
        raise CourseError(f'labels: {labels!r}; give a list, such as ["speed_camera"]')
    seen = set()
    for label in labels:
        if simple(label) in seen:
            raise CourseError(f"labels: {label!r} is given twice; delete one")
        seen.add(simple(label))


def check_labels(labels: Sequence[str], found: Iterable[str]) -> list[str]:
    """Return the labels of `found`, each once, that are among `labels` but for the spelling.

    Raises CourseError unless `labels` is a list of different labels that all occur in `found`.
    """
    check_list(labels)
    found = list(dict.fromkeys(found))
    by_key = {simple(label): tidy(label) for label in found}
    for label in labels:
        if simple(label) not in by_key:
            near = difflib.get_close_matches(simple(label), by_key, n=1, cutoff=0.5)
            hint = f" (nearest: {by_key[near[0]]})" if near else ""
            there = ", ".join(sorted(by_key.values()))
            raise CourseError(f"labels: {label!r} is in no annotation; there are {there}{hint}")
    wanted = set(map(simple, labels))
    return [label for label in found if simple(label) in wanted]


def labels_in(annotations: Iterable[Annotation]) -> list[str]:
    """Return the labels that occur, sorted; of spellings that differ in case, the most frequent."""
    spelt = Counter(tidy(box.label) for a in annotations for box in a.boxes)
    return sorted({simple(label): label for label, _ in reversed(spelt.most_common())}.values())


def tidy(label: str) -> str:
    """Return a label composed (NFC), without control characters, each gap being one blank."""
    text = unicodedata.normalize("NFC", label)
    kept = (c for c in text if c.isspace() or unicodedata.category(c) != "Cc")
    return " ".join("".join(kept).split())


def simple(label: str) -> str:
    """Return a label `tidy` and without case: equal ones are one class, without doubt."""
    return tidy(label).casefold()


def closest_label(label: str, labels: Iterable[str]) -> str | None:
    """Return the one of `labels` that `label` is probably a misspelling of, or None."""
    by_key = {simple(name): name for name in labels if _same_numbers(label, name)}
    close = difflib.get_close_matches(simple(label), by_key, n=1, cutoff=0.7)
    return by_key[close[0]] if close else None


def _same_numbers(label: str, other: str) -> bool:
    """Whether two labels hold the same numbers: speed_limit_50 is no slip for speed_limit_40."""
    return re.findall(r"\d+", label) == re.findall(r"\d+", other)


def meant_labels(annotations: Iterable[Annotation], labels: Sequence[str] | None) -> dict[str, str]:
    """Return each label that is probably a slip -> the one that was meant.

    That is one of `labels`, or, where these are None, a label that is more frequent. Only one
    that `simple` makes equal is meant without doubt; all others are a question to a person.
    """
    counts = Counter(box.label for annotation in annotations for box in annotation.boxes)
    if labels is None:
        found = {label: _more_frequent(label, counts) for label in counts}
    else:
        found = {label: closest_label(label, labels) for label in counts if label not in labels}
    return {label: meant for label, meant in found.items() if meant}


def _more_frequent(label: str, counts: Counter) -> str | None:
    """The more frequent label that differs only in case, blanks or a letter or so."""
    for other, count in counts.most_common():
        if other == label:
            return None if label == tidy(label) else tidy(label)
        if simple(other) == simple(label):
            return tidy(other)
        # A rare label close to one ten times as frequent is a slip; two frequent ones are two.
        close = difflib.get_close_matches(simple(label), [simple(other)], cutoff=0.85)
        if close and count >= 10 * counts[label] and _same_numbers(label, other):
            return tidy(other)
    return None
