"""A few of many, spread evenly."""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def evenly(items: Iterable[Item], most: int | None, *, ends: bool = True) -> list[Item]:
    """Return at most `most` of `items`, in order and spread evenly; all of them for None.

    Args:
        items: what to choose from.
        most: how many to return.
        ends: whether the first and the last item are among them. Without, an item can come twice
            when there are few.
    """
    items = list(items)
    if most is None or len(items) <= most:
        return items
    places = np.linspace(0, len(items) - 1, most if ends else most + 2)
    return [items[round(place)] for place in (places if ends else places[1:-1])]
