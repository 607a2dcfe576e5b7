"""The client for asyncio: `track` returns at once, a background task delivers, threads do the disk I/O."""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Self
from uuid import UUID

import httpx2

from viewcounter_client import wire
from viewcounter_client.attempts import QueryAttempts
from viewcounter_client.delivery import Action, Counters, Send, SendSpooled, Store, Wait
from viewcounter_client.dispatch import (
    OnRefused,
    build_failure,
    build_parts,
    check_delivered,
    end_delivery,
    is_futile,
    plan_wait,
    read_part,
    report_refused,
    report_rejection,
    settle_part,
)
from viewcounter_client.errors import BufferFull, ClientClosed, EventsLost
from viewcounter_client.events import PendingEvent, make_event
from viewcounter_client.options import Options, Overflow
from viewcounter_client.queries import Answer, Query
from viewcounter_client.spool import Spool
from viewcounter_client.verdict import Rejection, Verdict

logger = logging.getLogger("viewcounter_client")


class AsyncClient:
    """For one event loop; used as `async with AsyncClient(...)`. Leaving the context delivers what is pending.

    `on_refused` is called in the loop for each event that the service will never take; it must not block.
    """

    def __init__(
        self, base_url: str, api_key: str, options: Options | None = None, *, on_refused: OnRefused | None = None
    ) -> None:
        """Raises ValueError for the overflow policy `block`, SpoolInUse, OSError. Connects to nothing yet."""
        self._options = options or Options()
        if self._options.overflow is Overflow.BLOCK:
            raise ValueError("overflow: an event loop must not be blocked; choose another policy")
        self._on_refused = on_refused
        self._parts = build_parts(self._options)
        self._delivery = self._parts.delivery
        self._http = httpx2.AsyncClient(**wire.build_settings(base_url, api_key, self._options))
        self._wake = asyncio.Event()
        self._progress = asyncio.Condition()
        self._closing = False
        self._give_up_at = float("inf")
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="viewcounter-client")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def counters(self) -> Counters:
        return self._delivery.counters

    @property
    def positions(self) -> dict[int, str]:
        """By partition, the position in the service's event log of the last accepted events: `min_position` for others
        that are to read them."""
        return dict(self._delivery.positions)

    @property
    def rejection(self) -> Rejection | None:
        """Why the service rejects every request of this client (its API key, its address), or None."""
        return self._delivery.rejection

    def set_api_key(self, api_key: str) -> None:
        """Use another API key from the next request on, after a rotation for example."""
        self._http.headers.update(wire.build_authorization(api_key))
        self._delivery.forget_rejection()
        self._wake.set()

    def track(
        self,
        event_type: str,
        *,
        video_id: str,
        occurred_at: datetime | None = None,
        value: float | None = None,
        viewer_id: str | None = None,
        event_id: UUID | str | None = None,
    ) -> str:
        """Take one event, `occurred_at` now unless given; returns its id. Not a coroutine: it waits for nothing.

        `viewer_id`: who watched, in your own words; the service keeps a keyed digest of it.
        Raises InvalidEvent, ClientClosed, and BufferFull if the overflow policy says so.
        """
        if self._closing or self._task is None:
            raise ClientClosed("the client is not open: use it as `async with AsyncClient(...)`")
        event = make_event(
            event_type,
            video_id=video_id,
            occurred_at=occurred_at,
            value=value,
            viewer_id=viewer_id,
            event_id=event_id,
        )
        if not self._delivery.offer(event, now=time.monotonic()):
            if self._options.overflow is Overflow.RAISE:
                raise BufferFull(f"{self._delivery.counters.pending} events wait already")
            self._delivery.count_dropped()
        if self._delivery.should_wake:
            self._wake.set()
        return event.event_id

    async def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Waits until every event tracked before is accepted or refused, spooled ones included; False on timeout."""
        self._delivery.start_flush()
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_seconds), self._progress:
                await self._progress.wait_for(lambda: self._delivery.is_done)
        except TimeoutError:
            return False
        return True

    async def close(self, timeout_seconds: float | None = None) -> None:
        """Deliver what is pending within `close_seconds` and the time of one request; keep the rest in the spool.

        Without a spool the rest is lost, counted and logged. Closing twice does nothing.
        """
        if self._closing:
            return
        self._closing = True
        seconds = self._options.close_seconds if timeout_seconds is None else timeout_seconds
        self._give_up_at = time.monotonic() + seconds
        self._delivery.start_flush()
        self._wake.set()
        if self._task is not None:
            await self._task
        await asyncio.to_thread(end_delivery, self._parts)
        await self._http.aclose()

    async def query(self, query: Query[Answer], *, after_flush: bool = False) -> Answer:
        """The answer to one of `queries`; retried with backoff while that may help.

        `after_flush`: deliver the tracked events first, within `request_timeout_seconds`; the answer then counts it.
        Events that the service reports as lost are sent again, once, if this client still has them. Raises
        RequestRefused, EventsLost, and ServiceUnavailable, also if tracked events could not be delivered in time.
        """
        if not after_flush:
            return await self._ask(query)
        try:
            return await self._ask(await self._deliver_before(query))
        except EventsLost as error:
            if not self._delivery.send_again(error.lost, now=time.monotonic()):
                raise
        return await self._ask(await self._deliver_before(query))

    async def _deliver_before(self, query: Query[Answer]) -> Query[Answer]:
        check_delivered(await self.flush(self._options.request_timeout_seconds), self._delivery)
        return query.after(self._delivery.positions)

    async def _ask(self, query: Query[Answer]) -> Answer:
        attempts = QueryAttempts(self._parts.query_breaker, self._options)
        while True:
            attempts.check(now=time.monotonic())
            outcome: httpx2.Response | httpx2.HTTPError
            try:
                outcome = await self._http.request(query.method, query.path, **wire.encode_query(query))
            except httpx2.HTTPError as error:
                outcome = error
            response = attempts.classify(outcome, now=time.monotonic())
            if response is not None:
                return wire.parse_answer(query, response)
            await asyncio.sleep(attempts.pause_seconds)

    async def _run(self) -> None:
        while (action := await self._next_action()) is not None:
            await self._act(action)
            async with self._progress:
                self._progress.notify_all()

    async def _next_action(self) -> Action | None:
        """Waits until there is something to do; None at the end."""
        while True:
            now = time.monotonic()
            if self._closing and (self._delivery.is_idle or now >= self._give_up_at):
                return None
            self._wake.clear()
            action = self._delivery.next_action(now=now)
            if not isinstance(action, Wait):
                return action
            if self._closing and is_futile(action, give_up_at=self._give_up_at, now=now):
                return None
            seconds = plan_wait(action, give_up_at=self._give_up_at, now=now)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()

    async def _act(self, action: Action) -> None:
        spool = self._parts.spool
        match action:
            case Send(events):
                verdict = await self._post(events)
                self._delivery.on_verdict(verdict, now=time.monotonic())
                report_rejection(verdict.rejection, self.counters)
                report_refused(verdict.refused, self._on_refused)
            case SendSpooled(max_events) if spool is not None:
                await self._send_spooled(spool, max_events)
            case Store(events) if spool is not None:
                try:
                    await asyncio.to_thread(spool.append, events)
                except OSError as error:
                    logger.error("cannot spool events: %s", error)
                    self._delivery.on_store_failed(events, now=time.monotonic())
                else:
                    self._delivery.on_stored(events)

    async def _send_spooled(self, spool: Spool, max_events: int) -> None:
        try:
            part = await asyncio.to_thread(read_part, spool, max_events)
        except OSError as error:
            logger.error("cannot read the spool: %s", error)
            self._delivery.on_spool_broken(now=time.monotonic())
            return
        self._delivery.on_read(part.sent)
        verdict = await self._post(part.sent) if part.sent else Verdict()
        verdict, damaged = await asyncio.to_thread(settle_part, spool, part, verdict)
        self._delivery.on_spooled_verdict(verdict, damaged=damaged, now=time.monotonic())
        report_rejection(verdict.rejection, self.counters)
        report_refused(verdict.refused, self._on_refused)

    async def _post(self, events: Sequence[PendingEvent]) -> Verdict:
        content, headers = wire.encode_batch(events)
        try:
            response = await self._http.post(wire.EVENTS_PATH, content=content, headers=headers)
        except httpx2.HTTPError as error:
            return build_failure(events, error)
        return wire.classify(events, response)
