"""Sketches as the bytes that rows keep: distinct viewers (HyperLogLog) and the distribution of values (KLL). Pure.

By Apache DataSketches; its bytes carry a version of their own, so that later releases read what earlier ones wrote.
Merging sketches gives the sketch of everything that went into them, however often the same viewer is in several. Small
ones are exact: some two hundred viewers or values. Values are thousandths, as doubles: exact up to 2^53.

HyperLogLog: Flajolet et al. 2007. KLL: Karnin, Lang, Liberty 2016, https://arxiv.org/abs/1603.05346.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import datasketches
import numpy as np
from numpy.typing import NDArray

from runtime.errors import Permanent
from viewcounter.events.viewer import NO_VIEWER

VIEWERS_LG_K = 12
"""2^12 registers of four bits: about 2 kB, once a sketch is full."""
QUANTILES_K = 200
"""About 5 kB, however many values."""

VIEWERS_RELATIVE_STANDARD_ERROR = round(
    abs(datasketches.hll_sketch.get_rel_err(True, True, VIEWERS_LG_K, 1)),
    4,
)
QUANTILES_RANK_ERROR = round(
    datasketches.kll_doubles_sketch.get_normalized_rank_error(QUANTILES_K, False),
    4,
)
"""With 99 % confidence the value stands no further from the rank asked for."""


class UnreadableSketch(ValueError, Permanent):
    """Bytes that are no sketch, or one of a kind that this release does not know."""


@dataclass(slots=True)
class SketchBuilder:
    """One bucket, fed by and by. `events` went in."""

    is_valued: bool
    events: int = 0
    _viewers: Any = field(
        default_factory=lambda: datasketches.hll_sketch(VIEWERS_LG_K, datasketches.tgt_hll_type.HLL_4)
    )
    _values: Any = field(default_factory=lambda: datasketches.kll_doubles_sketch(QUANTILES_K))

    def add(self, *, events: int, viewers: bytes | None, values: bytes | None) -> None:
        """Bytes as `int8send` writes them, eight each; None for none."""
        self.events += events
        if viewers:
            _add_viewers(self._viewers, viewers)
        if values and self.is_valued:
            _add_values(self._values, values)

    def build_viewers(self) -> bytes:
        """Empty for no viewer."""
        return b"" if self._viewers.is_empty() else self._viewers.serialize_compact()

    def build_quantiles(self) -> bytes:
        """Empty where events carry no values."""
        return b"" if self._values.is_empty() else self._values.serialize()


def merge_viewers(sketches: Iterable[bytes], *, raw: Iterable[bytes] = ()) -> bytes:
    """`raw`: viewers in no sketch, as for `SketchBuilder.add`. Empty for no viewer. Raises UnreadableSketch."""
    union = datasketches.hll_union(VIEWERS_LG_K)
    for data in sketches:
        union.update(_read(datasketches.hll_sketch.deserialize, data))
    for data in raw:
        _add_viewers(union, data)
    return b"" if union.is_empty() else union.get_result(datasketches.tgt_hll_type.HLL_4).serialize_compact()


def merge_quantiles(sketches: Iterable[bytes], *, raw: Iterable[bytes] = ()) -> bytes:
    """As `merge_viewers`, of values."""
    merged = datasketches.kll_doubles_sketch(QUANTILES_K)
    for data in sketches:
        merged.merge(_read(datasketches.kll_doubles_sketch.deserialize, data))
    for data in raw:
        _add_values(merged, data)
    return b"" if merged.is_empty() else merged.serialize()


def estimate_viewers(sketch: bytes) -> int:
    if not sketch:
        return 0
    estimate: float = _read(datasketches.hll_sketch.deserialize, sketch).get_estimate()
    return round(estimate)


def get_quantile(sketch: bytes, *, rank: float) -> int | None:
    """The least value, in thousandths, that at least this part of all values does not exceed. None of no values."""
    if not sketch:
        return None
    value: float = _read(datasketches.kll_doubles_sketch.deserialize, sketch).get_quantile(rank, inclusive=True)
    return round(value)


def _add_viewers(target: Any, data: bytes) -> None:
    distinct: NDArray[np.int64] = np.unique(np.frombuffer(data, dtype=">i8"))
    for viewer in distinct.tolist():
        if viewer != NO_VIEWER:
            target.update(viewer)


def _add_values(target: Any, data: bytes) -> None:
    target.update(np.frombuffer(data, dtype=">i8").astype(np.float64))


def _read(deserialize: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return deserialize(data)
    except (ValueError, IndexError, RuntimeError, MemoryError) as error:
        raise UnreadableSketch(f"{len(data)} bytes are no sketch: {error}") from error
