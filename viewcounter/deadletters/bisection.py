"""Finding the few events that a shard refuses among many, by halving. Pure: whoever calls brings the trial.

Trials add up: what passed stays in place while later parts are tried. So an event that is refused only together
with others (their sum is too large) is found like any other, and what passed passes as a whole.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class BatchRefusal:
    """Why a shard refused a part. `sqlstate` is None where the driver refused it."""

    sqlstate: str | None
    message: str


TryRows = Callable[[Rows], BatchRefusal | None]
"""Apply these rows on top of those that passed; None: they passed and stay. Raises to end the search."""


class TooManyRefused(Exception):
    """More rows are refused than the caller is ready to give up; the search ended early."""

    def __init__(self, refused: dict[int, BatchRefusal]) -> None:
        super().__init__(f"{len(refused)} are refused already")
        self.refused = refused


def find_refused(rows: Rows, try_rows: TryRows, *, max_refused: int) -> dict[int, BatchRefusal]:
    """The refused ones of `rows`, each with its reason. Raises TooManyRefused, and what `try_rows` raises.

    At most `2 * k * ceil(log2 n) + 1` trials for k refused ones of n: each halving of a part that holds one of them
    costs two.
    """
    refused: dict[int, BatchRefusal] = {}
    pending = [rows] if len(rows) else []
    while pending:
        part = pending.pop()
        refusal = try_rows(part)
        if refusal is None:
            continue
        if len(part) > 1:
            middle = len(part) // 2
            pending += [part[middle:], part[:middle]]
            continue
        refused[int(part[0])] = refusal
        if len(refused) > max_refused:
            raise TooManyRefused(refused)
    return refused


def pick_probes(rows: Rows, *, count: int) -> list[Rows]:
    """`count` single rows, evenly spread; none of a part too small for them to say anything about the whole."""
    if len(rows) < count * 4:
        return []
    return [rows[place : place + 1] for place in np.linspace(0, len(rows) - 1, count).astype(int).tolist()]
