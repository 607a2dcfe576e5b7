"""Runs moves in order: for the commands that plan them, the mover process, and the task that resumes abandoned ones."""

import time
from collections.abc import Callable, Sequence

from django.utils import timezone

from clusterproxy.plan import Consistency
from clusterproxy.proxy import ClusterProxy
from configservice.models import Move
from configservice.moves.records import find_free, get_move
from configservice.moves.states import FINISHED, MoveState
from viewcounter.cluster import get_cluster
from viewcounter.config import Config
from viewcounter.eventlog.registry import get_event_log
from viewcounter.moves.mover import UNDELAYED, run_move
from viewcounter.moves.work import Tools
from viewcounter.storage.comparison import READ_SIZES

OnMove = Callable[[Move], None]
UNFINISHED = frozenset(MoveState) - FINISHED


def build_tools(config: Config, *, is_stopping: Callable[[], bool] = lambda: False) -> Tools:
    return Tools(
        cluster=get_cluster(),
        log=get_event_log(),
        settings=config.move,
        drain=config.drain,
        id_cache_bytes=config.drain.id_cache_max_bytes,
        is_stopping=is_stopping,
    )


def drive(tools: Tools, move_ids: Sequence[int], *, on_move: OnMove = lambda _: None) -> list[Move]:
    """Run each move to its end, one after the other, and wait for those that another mover runs. Returns them all.

    Raises MoverStopping when this process is told to stop.
    """
    return [_finish(tools, move_id, on_move=on_move) for move_id in move_ids]


def _finish(tools: Tools, move_id: int, *, on_move: OnMove) -> Move:
    while (move := get_move(move_id)).state not in FINISHED:
        if not run_move(tools, move_id, on_step=on_move, on_progress=on_move):
            on_move(move)
            time.sleep(tools.settings.poll_seconds)
    on_move(move)
    return move


def run_next(tools: Tools, *, on_move: OnMove = lambda _: None) -> bool:
    """Run the oldest unfinished move that no mover has claimed, to its end. False when there is none.

    Raises MoverStopping and DatabaseError.
    """
    free = find_free(states=UNFINISHED, now=timezone.now())
    return bool(free) and run_move(tools, free[0], on_step=on_move, on_progress=on_move)


def resume_abandoned(tools: Tools) -> int:
    """Continue moves whose mover died in a state of UNDELAYED, until they leave it. Returns how many were claimed."""
    free = find_free(states=UNDELAYED, now=timezone.now())
    return sum(run_move(tools, move_id, while_in=UNDELAYED) for move_id in free)


def read_sizes(cluster: ClusterProxy) -> dict[int, int]:
    """Events counted in each partition over all time. Raises the error of a shard that does not answer."""
    scattered = cluster.scatter(READ_SIZES, {}, consistency=Consistency.STRONG)
    for error in scattered.missing.values():
        raise error
    return {row["partition"]: int(row["event_count"]) for result in scattered.results.values() for row in result.rows}
