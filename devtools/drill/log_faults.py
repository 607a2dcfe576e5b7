"""The kinds of faults in which the log loses what it has acknowledged, or its clock is wrong."""

from devtools.drill.drill_fault import ASLEEP, AWAKE, LOG_AWAY, DrillFault
from devtools.drill.faults.lost_logs import (
    LostAheadOfReplica,
    LostDisk,
    OldLogReturns,
    RestoredCopy,
    SteppedClock,
)
from devtools.drill.plan import ClusterPart, Kind


def build_log_faults() -> list[DrillFault]:
    # Alone in the pipeline: the operator's command needs the positions of all shards.
    pipeline = frozenset(
        {ClusterPart.LOG, ClusterPart.SHARDS, ClusterPart.GATEWAY, ClusterPart.WORKERS, ClusterPart.CONTROL}
    )
    return [
        DrillFault(
            Kind("lose-log-disk", pipeline, AWAKE), "kill -9 of the log, its disk is removed, an operator accepts that",
            LOG_AWAY, LostDisk, may_lose=True,
        ),
        DrillFault(
            Kind("restore-log-copy", pipeline, AWAKE),
            "the log comes back with its disk of 8 s before; nobody does anything", LOG_AWAY, RestoredCopy,
            may_lose=True,
        ),
        DrillFault(
            Kind("return-old-log", pipeline, AWAKE),
            "the log is replaced; the old one comes back at another address and is salvaged", LOG_AWAY, OldLogReturns,
        ),
        DrillFault(
            Kind("lose-log-ahead-of-replica", pipeline, AWAKE),
            "the log is lost while a replica lags; then the primary dies for good and that replica is promoted",
            LOG_AWAY, LostAheadOfReplica, may_lose=True,
        ),
        DrillFault(
            Kind("step-log-clock", pipeline, ASLEEP), "the log's clock is ten days ahead, then right again",
            LOG_AWAY, SteppedClock, steps_clock=True,
        ),
    ]  # fmt: skip
