"""Reading sketches, and the raw events that are in none yet, of a video or of a channel.

Bytes that cannot be read as a sketch are not trusted, nor is any other of that answer: it is read once more, from raw
events alone.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from clusterproxy.proxy import ClusterProxy
from viewcounter.cache.read_cache import ReadCache
from viewcounter.queries.freshness import ReadOptions
from viewcounter.queries.reading import StatementResult, read
from viewcounter.queries.settings import SketchLimits
from viewcounter.queries.sketched import SketchFunction, condense
from viewcounter.queries.targets import StatsTarget, build_target_read
from viewcounter.storage.sketch_bytes import UnreadableSketch

logger = logging.getLogger(__name__)


def read_sketches(
    cluster: ClusterProxy,
    target: StatsTarget,
    params: Mapping[str, Any],
    *,
    cut: str,
    period_end: datetime | None,
    function: SketchFunction,
    limits: SketchLimits,
    now: datetime,
    options: ReadOptions,
    cache: ReadCache | None,
) -> StatementResult:
    """Rows as `condense` makes them; a bound that one shard meets is met by all. Raises what it and `read` raise.

    `cut`: the event type and period in the key of the cache entry, which serves every percentile.
    """

    def read_once(*, uses_sketches: bool) -> StatementResult:
        bounds = {
            "of_viewers": function.is_of_viewers,
            "uses_sketches": uses_sketches,
            "future_seconds": limits.future_seconds,
            "max_bytes": limits.max_bytes,
            "max_events": limits.max_events,
            "max_pieces": limits.max_pieces,
        }
        request = build_target_read(
            cluster,
            target,
            target.statements.sketches,
            {**params, **bounds},
            key=f"sketches:{'viewers' if function.is_of_viewers else 'quantiles'}:{cut}",
            period_end=period_end,
            options=options,
            condense=partial(condense, of_viewers=function.is_of_viewers, limits=limits),
        )
        return read(request, now=now, cache=cache)

    try:
        return read_once(uses_sketches=True)
    except UnreadableSketch as error:
        logger.error("a sketch of %s %r cannot be read, its raw events are: %s", target.kind, target.id, error)
    return read_once(uses_sketches=False)
