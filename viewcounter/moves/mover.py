"""Runs one move from its recorded state to its end, or until the process is told to stop.

Every step is idempotent, also after it has done its work in part: only the state recorded by the config service
decides. A mover that claims a move starts with the step of that state, whatever happened to the mover before.
"""

import logging
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import getpid
from typing import Any
from uuid import uuid4

from django.db import DatabaseError, close_old_connections

from clusterproxy.errors import ClusterProxyError
from configservice.errors import ControlDatabaseUnavailable, MoveNotPossible, MoveTaken, NoSigner
from configservice.models import Move, Shard
from configservice.moves.records import advance, claim, flip, get_move, give_up, record_failure, release
from configservice.moves.states import ABORTABLE, FINISHED, URGENT, MoveEvent, MoveState
from configservice.topology.publication import check_signer
from runtime.backoff import Backoff
from runtime.errors import Permanent
from runtime.logs import log_fields
from runtime.metrics import MOVE_FAILURES, MOVES_RUNNING
from shardproxy.errors import ShardProxyError
from viewcounter.eventlog.errors import EventLogError
from viewcounter.moves import copying, handing_over
from viewcounter.moves.catching_up import Replayer, catch_up_within
from viewcounter.moves.cleanup import Open, remove_rows
from viewcounter.moves.comparing import compare_whole
from viewcounter.moves.errors import CopyDiffers, MoverStopping, MoveStepFailed
from viewcounter.moves.metrics import count_ended
from viewcounter.moves.work import LeaseRenewer, Tools, Work
from viewcounter.processing.errors import DrainError
from viewcounter.storage.errors import CopyTaken, MaintenanceHoldLost, StorageError
from viewcounter.storage.moves import (
    Side,
    build_token,
    check_moved_away,
    free_source,
    release_source,
    retire_copy,
    take_copy_over,
)

logger = logging.getLogger(__name__)

_FAILURES = (
    ShardProxyError,
    ClusterProxyError,
    EventLogError,
    DrainError,
    StorageError,
    DatabaseError,
    MoveStepFailed,
    MoveNotPossible,
    NoSigner,
    ControlDatabaseUnavailable,
)
_FIRST_RETRY_SECONDS = 0.5
_HELD = frozenset({MoveState.HELD, MoveState.ACTIVATED})


@dataclass(frozen=True, slots=True)
class MoveOutcome:
    """Result of a step: the event to record, and values of the move's fields that are known with it."""

    event: MoveEvent
    facts: Mapping[str, Any] = field(default_factory=dict)


def build_lease_owner() -> str:
    """Owner of a lease: unique to each run of a move by a process."""
    return f"{socket.gethostname()}:{getpid()}:{uuid4().hex[:8]}"[:100]


def start(work: Work) -> MoveOutcome:  # noqa: ARG001
    return MoveOutcome(MoveEvent.STARTED)


def copy(work: Work) -> MoveOutcome:
    copying.take_source_over(work)
    copying.prepare_target(work)
    copied = copying.copy_partition(work)
    return MoveOutcome(
        MoveEvent.COPIED,
        {
            "copied_at_position": copied.position,
            "rows_copied": copied.row_count,
            "rows_total": copied.row_count,
            "copy_seconds": copied.seconds,
        },
    )


def catch_up(work: Work) -> MoveOutcome:
    copying.take_source_over(work)
    with work.open_target() as target:
        take_copy_over(target, work.target)
    with _replaying(work) as replayer:
        catch_up_within(work, replayer)
        compare_whole(work, replayer)
    return MoveOutcome(MoveEvent.VERIFIED)


def make_ready(work: Work) -> MoveOutcome:
    try:
        handing_over.take_over_verified(work)
    except MaintenanceHoldLost as error:
        logger.info("move %d: %s", work.move.pk, error)
        return MoveOutcome(MoveEvent.UNHELD)
    handing_over.resume_source(work)
    with _replaying(work) as replayer:
        catch_up_within(work, replayer)
        check_signer()  # a held partition counts nothing until the topology of the flip is signed
        handing_over.wait_for_every_instance(work)
        catch_up_within(work, replayer)
    return MoveOutcome(MoveEvent.HELD)


def hand_over(work: Work) -> MoveOutcome:
    handing_over.take_over_verified(work)
    with _replaying(work) as replayer:
        handed = handing_over.hand_over(work, replayer)
    return MoveOutcome(MoveEvent.ACTIVATED, {"held_at": handed.held_at, "held_at_position": handed.position})


def finish_release(work: Work) -> MoveOutcome:
    handing_over.release(work)
    return MoveOutcome(MoveEvent.RELEASED)


def clean(work: Work) -> MoveOutcome:
    with work.open_source() as source:
        release_source(source, work.source)  # a failover may have lost the release
    removed = _remove_rows(work, work.open_source, work.source, shard=work.move.source)
    logger.info("move %d: removed %d rows from %s", work.move.pk, removed, work.move.source)
    return MoveOutcome(MoveEvent.CLEANED)


def restore(work: Work) -> MoveOutcome:
    with work.open_source() as source:
        free_source(source, work.source)
    with work.open_target() as target:
        retire_copy(target, work.target)
    _remove_rows(work, work.open_target, work.target, shard=work.move.target)
    return MoveOutcome(MoveEvent.RESTORED)


def _remove_rows(work: Work, open_transaction: Open, side: Side, *, shard: Shard) -> int:
    return remove_rows(
        work, open_transaction, guard=lambda connection: check_moved_away(connection, side, shard=shard.name)
    )


@contextmanager
def _replaying(work: Work) -> Iterator[Replayer]:
    replayer = Replayer(work)
    try:
        yield replayer
    finally:
        replayer.close()


Step = Callable[[Work], MoveOutcome]
STEPS: dict[MoveState, Step] = {
    MoveState.PLANNED: start,
    MoveState.COPYING: copy,
    MoveState.CATCHING_UP: catch_up,
    MoveState.VERIFIED: make_ready,
    MoveState.HELD: hand_over,
    MoveState.FLIPPED: finish_release,
    MoveState.RELEASED: clean,
    MoveState.ABORTING: restore,
}
"""The step of each state. A move in `activated` has none: the flip is a transaction of the config service."""

_KEEPS_MAINTENANCE = frozenset({MoveState.COPYING, MoveState.CATCHING_UP, MoveState.VERIFIED, MoveState.HELD})
_REPEATS_COPY = frozenset({MoveState.CATCHING_UP, MoveState.VERIFIED, MoveState.HELD})
EVERY_STATE = frozenset(MoveState)
UNDELAYED = URGENT | {MoveState.ABORTING}
"""States in which readers or an operator wait: the first free mover or task continues such a move."""


def run_move(
    tools: Tools,
    move_id: int,
    *,
    while_in: Collection[MoveState] = EVERY_STATE,
    on_step: Callable[[Move], None] = lambda _: None,
    on_progress: Callable[[Move], None] = lambda _: None,
) -> bool:
    """Claim the move and run its steps while it is in one of these states. False when another mover holds the lease.

    Raises MoverStopping when this process is told to stop: between two pieces of work, in URGENT states only after a
    failure. Failures are recorded and retried. Too many of them abort a move before its flip; after the flip they are
    only recorded.
    """
    owner = build_lease_owner()
    move = claim(move_id, owner=owner, lease_seconds=tools.settings.lease_seconds)
    if move is None:
        return False
    token = build_token(target_epoch=move.target_epoch, claim=move.claims)
    MOVES_RUNNING.inc()
    try:
        with log_fields(partition=move.partition):
            _run(Work(tools, move, token, on_progress), owner, while_in=while_in, on_step=on_step)
    finally:
        MOVES_RUNNING.dec()
        _release(move_id, owner)
    return True


def _release(move_id: int, owner: str) -> None:
    try:
        release(move_id, owner=owner)
    except DatabaseError as error:
        logger.warning("move %d: its lease was not released and has to expire: %s", move_id, error)
        close_old_connections()


def _run(work: Work, owner: str, *, while_in: Collection[MoveState], on_step: Callable[[Move], None]) -> None:
    on_step(work.move)
    backoff = Backoff(_FIRST_RETRY_SECONDS, work.settings.retry_max_seconds, jitter=0.5)
    while work.move.state not in FINISHED and work.move.state in while_in:
        work.check()
        try:
            work.move = make_step(work)
        except MoveTaken:
            work.move = get_move(work.move.pk)
        except _FAILURES as error:
            work.move = _record_failure(work, error)
            if work.tools.is_stopping():
                raise MoverStopping from error
            with LeaseRenewer(work, holds_maintenance=work.move.state in _KEEPS_MAINTENANCE):
                work.pause(backoff.compute_seconds(work.move.attempts + 1))
        if work.move.lease_owner != owner:
            logger.info("move %d: another mover has taken it over", work.move.pk)
            return
        on_step(work.move)
    if work.move.state in FINISHED:
        count_ended(work.move)


def make_step(work: Work) -> Move:
    """Run the step of the move's state and record its outcome. Raises the errors of the step."""
    state = MoveState(work.move.state)
    if state is MoveState.ACTIVATED:
        return flip(work.move)
    with LeaseRenewer(work, holds_maintenance=state in _KEEPS_MAINTENANCE):
        try:
            outcome = STEPS[state](work)
        except (CopyDiffers, CopyTaken) as error:
            if state not in _REPEATS_COPY:
                raise
            outcome = _restart_copy(work, error)
    logger.info("move %d: %s: %s", work.move.pk, work.move, outcome.event)
    return advance(work.move, outcome.event, **outcome.facts)


def _restart_copy(work: Work, error: Exception) -> MoveOutcome:
    logger.warning("move %d: making the copy again: %s", work.move.pk, error)
    handing_over.resume_source(work)
    return MoveOutcome(MoveEvent.DIFFERED, _describe(work.move, error) | {"setbacks": work.move.setbacks + 1})


def _record_failure(work: Work, error: Exception) -> Move:
    """Waits for the control database if it does not answer. Returns the move as recorded. Raises MoverStopping, also in
    URGENT states: a process that is told to stop does not wait for a server that may never come back."""
    logger.warning("move %d failed in state %s: %s", work.move.pk, work.move.state, error)
    MOVE_FAILURES.labels(work.move.state).inc()
    has_resumed = work.move.state in _HELD and _try_to_resume_source(work)
    while True:
        try:
            return _write_failure(work.move, error, work=work, has_resumed=has_resumed)
        except MoveTaken:
            return get_move(work.move.pk)
        except DatabaseError as database_error:
            logger.warning("move %d: the control database does not answer: %s", work.move.pk, database_error)
            close_old_connections()
            if work.tools.is_stopping():
                raise MoverStopping from database_error
            work.pause(work.settings.poll_seconds)


def _write_failure(known: Move, error: Exception, *, work: Work, has_resumed: bool) -> Move:
    move = get_move(known.pk)
    if (move.state, move.lease_owner) != (known.state, known.lease_owner):
        return move  # the step was recorded although the answer was lost, or another mover has claimed the move
    attempts_max = work.settings.attempts_max
    # An operator repairs an unfit log, after which the move goes on: its errors only count as attempts.
    is_hopeless = isinstance(error, Permanent | MoveNotPossible) and not isinstance(error, EventLogError)
    is_enough = move.attempts >= attempts_max or move.setbacks >= attempts_max
    if move.state in ABORTABLE and (is_hopeless or is_enough):
        logger.error("move %d: giving up: %s", move.pk, error)
        return give_up(move, str(error))
    if has_resumed:
        return advance(move, MoveEvent.UNHELD, **_describe(move, error), setbacks=move.setbacks + 1)
    return record_failure(move, str(error))


def _try_to_resume_source(work: Work) -> bool:
    """Let the source count again while this move waits for its retry. Harmless whatever the failed step has done: only
    the copy's own position counts."""
    try:
        handing_over.resume_source(work)
    except (ShardProxyError, ClusterProxyError) as error:
        logger.warning("move %d: the source is still held (%s): %s", work.move.pk, work.move, error)
        return False
    return True


def _describe(move: Move, error: Exception) -> dict[str, Any]:
    return {"attempts": move.attempts + 1, "error": str(error)}
