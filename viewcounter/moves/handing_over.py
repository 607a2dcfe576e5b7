"""Hand-over protocol. The process may crash between any two steps; recovery resumes and loses only time.

Held: the source takes no flush but answers reads. Activated: the copy is at the source's last position and could take
flushes, but no topology routes to it. Flipped: the topology names the target; the source still answers readers with an
older topology. Released: the source answers no reads. So at most one side ever takes flushes, and reads always go to a
side that has every counted event.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from django.utils import timezone

from configservice.topology.publication import find_unsigned_epoch
from shardproxy.errors import ShardProxyError
from viewcounter.eventlog.interface import Position
from viewcounter.moves.catching_up import Replayer
from viewcounter.moves.comparing import compare_last
from viewcounter.moves.errors import HandOverTooSlow, MoveUnsigned, ReplicasBehind
from viewcounter.moves.work import Work
from viewcounter.storage.moves import (
    READ_COPY,
    activate_copy,
    continue_maintenance_hold,
    hold_source,
    own_arrival,
    release_source,
    take_copy_over,
    unhold_source,
)
from viewcounter.storage.partitions import INCOMING


@dataclass(frozen=True, slots=True)
class HandedOver:
    """When the source was held, and at which position (`term-seq`)."""

    held_at: datetime
    position: str


def take_over_verified(work: Work) -> None:
    """Continue with a verified copy, provided that only flushes can have changed the source since.

    Raises MaintenanceHoldLost, CopyTaken.
    """
    with work.open_source() as source:
        continue_maintenance_hold(source, work.source, seconds=work.settings.maintenance_hold_seconds)
    with work.open_target() as target:
        take_copy_over(target, work.target)


def resume_source(work: Work) -> None:
    with work.open_source() as source:
        unhold_source(source, work.source)


def wait_for_every_instance(work: Work) -> None:
    """Wait until each promotable instance of the target has the whole copy: any of them may be promoted next. And our
    token with it, so that no earlier mover can restart the copy after a promotion.

    Raises ReplicasBehind.
    """
    settings = work.settings
    ends_at = time.monotonic() + settings.throttle_seconds
    while True:
        work.check()
        missing = _find_missing(work)
        if not missing:
            return
        if time.monotonic() >= ends_at:
            raise ReplicasBehind(f"the copy is not known to be whole on {', '.join(missing)}")
        time.sleep(settings.poll_seconds)


def _find_missing(work: Work) -> list[str]:
    copied_at = Position.parse(work.move.copied_at_position)
    answers = work.tools.cluster.query_promotable_instances(
        work.move.target_id, READ_COPY, {"partition": work.partition}
    )
    return [
        name
        for name, answer in answers.items()
        if isinstance(answer, ShardProxyError)
        or not any(
            row["state"] == INCOMING
            and row["epoch"] == work.move.target_epoch
            and row["move_token"] == work.token
            and Position.parse(row["position"]) >= copied_at
            for row in answer.rows
        )
    ]


def wait_until_signed(work: Work) -> None:
    """Wait until the topology that names the target is signed: without it processes route to the source only.

    Raises MoveUnsigned.
    """
    ends_at = time.monotonic() + work.settings.throttle_seconds
    while (epoch := find_unsigned_epoch()) is not None:
        if time.monotonic() >= ends_at:
            raise MoveUnsigned(f"epoch {epoch} waits for a config service to sign it")
        work.pause(work.settings.poll_seconds)


def hand_over(work: Work, replayer: Replayer) -> HandedOver:
    """Hold the source, drain the last delta into the copy, compare, activate the copy; within `hold_seconds`.

    Raises HandOverTooSlow, CopyDiffers, MaintenanceHoldLost, CopyTaken; the source then stays held until it is resumed.
    """
    ends_at = time.monotonic() + work.settings.hold_seconds
    held_at = timezone.now()
    with work.open_source() as source:
        row = hold_source(source, work.source)
    replayer.replay(until=Position.parse(row["position"]), ends_at=ends_at)
    compare_last(work, row)
    if time.monotonic() >= ends_at:
        raise HandOverTooSlow(f"delta and comparison took longer than {work.settings.hold_seconds:g} s")
    with work.open_target() as target:
        activate_copy(target, work.target, row)
    return HandedOver(held_at, row["position"])


def release(work: Work) -> None:
    """Make the target the owner, also after a failover that lost its activation, and end the reads of the source.

    The source answers for `release_seconds` after the flip, while topologies of before may still route to it.
    """
    with work.open_target() as target:
        own_arrival(target, work.target)
    wait_until_signed(work)
    flipped_at: datetime = work.move.flipped_at or datetime.now(UTC)
    work.pause(work.settings.release_seconds - (timezone.now() - flipped_at).total_seconds())
    with work.open_source() as source:
        release_source(source, work.source)
