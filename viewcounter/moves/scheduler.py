"""Moves in their order: by the command that asked for them, by the mover daemon, by a task that finishes what hangs."""

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
from viewcounter.moves.settings import MoveSettings
from viewcounter.moves.work import Tools
from viewcounter.processing.worker import build_drain_settings
from viewcounter.storage.comparison import READ_SIZES

OnMove = Callable[[Move], None]
UNFINISHED = frozenset(MoveState) - FINISHED


def build_tools(config: Config, *, is_stopping: Callable[[], bool] = lambda: False) -> Tools:
    return Tools(
        cluster=get_cluster(),
        log=get_event_log(),
        settings=MoveSettings.from_config(config),
        drain=build_drain_settings(config),
        id_cache_bytes=config.id_cache_max_bytes,
        is_stopping=is_stopping,
    )


def drive(tools: Tools, move_ids: Sequence[int], *, on_move: OnMove = lambda _: None) -> list[Move]:
    """Each to its end, one after the other; one that another mover is at is waited for. Returns them as they ended.

    Raises MoverStopping when this process is to end.
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
    """The oldest unfinished move that nobody is at, to its end. False when there is none.

    Raises MoverStopping and DatabaseError.
    """
    free = find_free(states=UNFINISHED, now=timezone.now())
    return bool(free) and run_move(tools, free[0], on_step=on_move, on_progress=on_move)


def resume_abandoned(tools: Tools) -> int:
    """Moves whose mover died while somebody waits: until nobody does. Returns how many were taken up."""
    free = find_free(states=UNDELAYED, now=timezone.now())
    return sum(run_move(tools, move_id, while_in=UNDELAYED) for move_id in free)


def read_sizes(cluster: ClusterProxy) -> dict[int, int]:
    """Events counted by partition, of all time. Raises the error of a shard that does not answer."""
    scattered = cluster.scatter(READ_SIZES, {}, consistency=Consistency.STRONG)
    for error in scattered.missing.values():
        raise error
    return {row["partition"]: int(row["event_count"]) for result in scattered.results.values() for row in result.rows}
