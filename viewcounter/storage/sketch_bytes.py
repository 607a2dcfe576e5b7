"""Sketches as stored bytes: distinct viewers (HyperLogLog) and the distribution of values (KLL). Pure.

Made by Apache DataSketches; the bytes carry a version, so that later releases read those of earlier ones. Merging
sketches gives the sketch of all their inputs; a viewer in several of them counts once. Small sketches, of about two
hundred viewers or values, are exact. Values are thousandths, as doubles: exact up to 2^53.

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
"""2^12 registers of four bits: about 2 kB for a full sketch."""
QUANTILES_K = 200
"""About 5 kB for any number of values."""

VIEWERS_RELATIVE_STANDARD_ERROR = round(
    abs(datasketches.hll_sketch.get_rel_err(True, True, VIEWERS_LG_K, 1)),
    4,
)
QUANTILES_RANK_ERROR = round(
    datasketches.kll_doubles_sketch.get_normalized_rank_error(QUANTILES_K, False),
    4,
)
"""Maximum error of a rank, with 99 % confidence."""


class UnreadableSketch(ValueError, Permanent):
    """The stored bytes are no sketch, or one of a version that this release does not know. Make the sketch again."""


@dataclass(slots=True)
class SketchBuilder:
    """Builds the sketches of one bucket incrementally. `events`: number of events added."""

    is_valued: bool
    events: int = 0
    _viewers: Any = field(
        default_factory=lambda: datasketches.hll_sketch(VIEWERS_LG_K, datasketches.tgt_hll_type.HLL_4)
    )
    _values: Any = field(default_factory=lambda: datasketches.kll_doubles_sketch(QUANTILES_K))

    def add(self, *, events: int, viewers: bytes | None, values: bytes | None) -> None:
        """`viewers` and `values`: eight bytes each, as `int8send` writes them; None if there are none."""
        self.events += events
        if viewers:
            _add_viewers(self._viewers, viewers)
        if values and self.is_valued:
            _add_values(self._values, values)

    def build_viewers(self) -> bytes:
        """Empty without viewers."""
        return b"" if self._viewers.is_empty() else self._viewers.serialize_compact()

    def build_quantiles(self) -> bytes:
        """Empty without values."""
        return b"" if self._values.is_empty() else self._values.serialize()


def merge_viewers(sketches: Iterable[bytes], *, raw: Iterable[bytes] = ()) -> bytes:
    """`raw`: further viewers, in the format of `SketchBuilder.add`. Empty without viewers. Raises UnreadableSketch."""
    union = datasketches.hll_union(VIEWERS_LG_K)
    for data in sketches:
        union.update(_read(datasketches.hll_sketch.deserialize, data))
    for data in raw:
        _add_viewers(union, data)
    return b"" if union.is_empty() else union.get_result(datasketches.tgt_hll_type.HLL_4).serialize_compact()


def merge_quantiles(sketches: Iterable[bytes], *, raw: Iterable[bytes] = ()) -> bytes:
    """Like `merge_viewers`, for values."""
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
    """The smallest value, in thousandths, that at least this share of values does not exceed; None without values."""
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
        raise UnreadableSketch(f"{len(data)} bytes are not a readable sketch: {error}") from error
