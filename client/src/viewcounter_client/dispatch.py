"""Shared by both clients: building their parts, and handling the spool, refusals and the end."""

import logging
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from viewcounter_client.breaker import Breaker
from viewcounter_client.delivery import Counters, Delivery, Wait
from viewcounter_client.errors import ServiceUnavailable
from viewcounter_client.events import PendingEvent
from viewcounter_client.options import Options
from viewcounter_client.spool import Spool
from viewcounter_client.verdict import Refusal, Rejection, Verdict

logger = logging.getLogger("viewcounter_client")

OnRefused = Callable[[Refusal], None]


@dataclass(frozen=True, slots=True)
class Parts:
    """The components of a client."""

    delivery: Delivery
    spool: Spool | None
    query_breaker: Breaker


def build_parts(options: Options) -> Parts:
    """Raises SpoolInUse, OSError."""
    rng = random.Random()  # noqa: S311 - jitter
    spool = None
    if options.spool_directory is not None:
        spool = Spool(options.spool_directory, max_bytes=options.spool_max_bytes)
    delivery = Delivery(options, has_spool=spool is not None, rng=rng)
    if spool is not None:
        delivery.recover(spool.count_events())
    # Queries have a breaker of their own: a shard that is down must not hold up events, which only need the log.
    query_breaker = Breaker(
        failures=options.breaker_failures,
        open_seconds=options.breaker_open_seconds,
        first_seconds=options.backoff_first_seconds,
        max_seconds=options.backoff_max_seconds,
        rng=rng,
    )
    return Parts(delivery, spool, query_breaker)


def is_futile(action: Wait, *, give_up_at: float, now: float) -> bool:
    """Whether a closing client, which gets no new events, has nothing left to do before `give_up_at`."""
    return action.seconds is None or now + action.seconds >= give_up_at


def plan_wait(action: Wait, *, give_up_at: float, now: float) -> float | None:
    """Seconds to wait; None: until woken. `give_up_at`: infinite unless the client is closing."""
    left = min(math.inf if action.seconds is None else action.seconds, give_up_at - now)
    return None if left == math.inf else left


def build_failure(events: Sequence[PendingEvent], error: Exception) -> Verdict:
    """Verdict on a batch whose request got no response."""
    logger.warning("events could not be delivered yet: %s: %s", type(error).__name__, error)
    return Verdict(again=tuple(events), is_failure=True)


@dataclass(frozen=True, slots=True)
class SpoolPart:
    """The oldest part of the spool: events sent now, events that stay, number of damaged lines."""

    sent: tuple[PendingEvent, ...]
    rest: tuple[PendingEvent, ...]
    damaged: int


def read_part(spool: Spool, max_events: int) -> SpoolPart:
    """Raises OSError."""
    events, damaged = spool.read_oldest()
    return SpoolPart(tuple(events[:max_events]), tuple(events[max_events:]), damaged)


def settle_part(spool: Spool, part: SpoolPart, verdict: Verdict) -> tuple[Verdict, int]:
    """Removes accepted and refused events from the spool; returns the verdict to report, and the damaged lines removed.

    If the disk fails, all events stay in the spool and are sent again.
    """
    if part.sent and len(verdict.again) == len(part.sent):
        return verdict, 0
    try:
        spool.replace_oldest([*verdict.again, *part.rest])
    except OSError as error:
        logger.error("cannot remove delivered events from the spool; they will be sent again: %s", error)
        return Verdict(again=part.sent, is_failure=True), 0
    return verdict, part.damaged


def report_rejection(rejection: Rejection | None, counters: Counters) -> None:
    """One line for each attempt that the service rejected as a whole; attempts are `rejected_pause_seconds` apart."""
    if rejection is None:
        return
    logger.error(
        "the viewcounter service rejects all requests of this client (%s). No event is lost yet: %d wait in memory,"
        " %d in the spool, and are sent again later. Check the client's address and API key",
        rejection,
        counters.pending + counters.in_flight,
        counters.spooled,
    )


def report_refused(refusals: Sequence[Refusal], on_refused: OnRefused | None) -> None:
    if not refusals:
        return
    first = refusals[0]
    logger.error("%d events are refused for good; first %s: %s", len(refusals), first.event_id, first.message)
    if on_refused is None:
        return
    for refusal in refusals:
        try:
            on_refused(refusal)
        except Exception:  # the application's code must not stop the client
            logger.exception("on_refused failed")


def check_delivered(is_delivered: bool, delivery: Delivery) -> None:
    """Raises ServiceUnavailable if tracked events are not delivered."""
    if not is_delivered:
        reason = f"; the service rejects this client: {delivery.rejection}" if delivery.rejection else ""
        counters = delivery.counters
        waiting = counters.pending + counters.in_flight + counters.spooled
        raise ServiceUnavailable(f"{waiting} tracked events could not be delivered in time{reason}")


def end_delivery(parts: Parts) -> None:
    """Spools the remaining events, or logs their number as lost without a spool."""
    delivery, spool = parts.delivery, parts.spool
    while spool is not None and (events := delivery.take_rest()):
        try:
            spool.append(events)
        except OSError as error:
            logger.error("cannot spool the last events: %s", error)
            delivery.give_back(events, now=0.0)
            break
        delivery.on_stored(events)
    dropped = delivery.drop_rest()
    if dropped:
        reason = f": the service rejects this client ({delivery.rejection})" if delivery.rejection else " in time"
        logger.error("%d events could not be delivered%s and are lost", len(dropped), reason)
    if spool is not None:
        spool.close()
