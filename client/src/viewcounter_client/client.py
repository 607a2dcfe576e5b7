"""The client for programs with threads: `track` returns at once, a background thread delivers."""

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Sequence
from datetime import datetime
from functools import partial
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


class Client:
    """Thread-safe. One a process, made after forking. `close` (or leaving the context, or the end of the program)
    delivers what is pending.

    `on_refused` is called in the sending thread for each event that the service will never take.
    """

    def __init__(
        self, base_url: str, api_key: str, options: Options | None = None, *, on_refused: OnRefused | None = None
    ) -> None:
        """Raises SpoolInUse, or OSError if the spool directory cannot be used. Connects to nothing yet."""
        self._options = options or Options()
        self._on_refused = on_refused
        self._parts = build_parts(self._options)
        self._delivery = self._parts.delivery
        self._http = httpx2.Client(**wire.build_settings(base_url, api_key, self._options))
        self._pid = os.getpid()
        # Guards the delivery, the query breaker and the flags; never held during I/O.
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._give_up_at = float("inf")
        self._at_exit = partial(_close_at_exit, weakref.ref(self))
        atexit.register(self._at_exit)
        if self._parts.spool is not None and not self._delivery.is_done:
            with self._changed:
                self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def counters(self) -> Counters:
        with self._changed:
            return self._delivery.counters

    @property
    def positions(self) -> dict[int, str]:
        """By partition, the position in the service's event log of the last accepted events: `min_position` for others
        that are to read them."""
        with self._changed:
            return dict(self._delivery.positions)

    @property
    def rejection(self) -> Rejection | None:
        """Why the service rejects every request of this client (its API key, its address), or None."""
        with self._changed:
            return self._delivery.rejection

    def set_api_key(self, api_key: str) -> None:
        """Use another API key from the next request on, after a rotation for example."""
        self._http.headers.update(wire.build_authorization(api_key))
        with self._changed:
            self._delivery.forget_rejection()
            self._changed.notify_all()

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
        """Take one event, `occurred_at` now unless given; returns its id. Never waits for the network or a disk.

        `viewer_id`: who watched, in your own words; the service keeps a keyed digest of it.
        Raises InvalidEvent, ClientClosed, and BufferFull if the overflow policy says so.
        """
        event = make_event(
            event_type,
            video_id=video_id,
            occurred_at=occurred_at,
            value=value,
            viewer_id=viewer_id,
            event_id=event_id,
        )
        with self._changed:
            self._check_open()
            if self._thread is None:
                self._start()
            if not self._delivery.offer(event, now=time.monotonic()):
                self._overflow(event)
            if self._delivery.should_wake:
                self._changed.notify_all()
        return event.event_id

    def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Waits until every event tracked before is accepted or refused, spooled ones included; False on timeout."""
        with self._changed:
            self._delivery.start_flush()
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._delivery.is_done, timeout_seconds)

    def close(self, timeout_seconds: float | None = None) -> None:
        """Deliver what is pending within `close_seconds` and the time of one request; keep the rest in the spool.

        Without a spool the rest is lost, counted and logged. Closing twice does nothing.
        """
        with self._changed:
            if self._closing or os.getpid() != self._pid:
                return
            self._closing = True
            seconds = self._options.close_seconds if timeout_seconds is None else timeout_seconds
            self._give_up_at = time.monotonic() + seconds
            self._delivery.start_flush()
            self._changed.notify_all()
            thread = self._thread
        atexit.unregister(self._at_exit)
        if thread is not None:
            thread.join(seconds + self._options.request_timeout_seconds + self._options.connect_timeout_seconds)
            if thread.is_alive():
                logger.error("the last request does not end; its events may be lost: %s", self.counters)
                return
        end_delivery(self._parts)
        self._http.close()

    def query(self, query: Query[Answer], *, after_flush: bool = False) -> Answer:
        """The answer to one of `queries`; retried with backoff while that may help.

        `after_flush`: deliver the tracked events first, within `request_timeout_seconds`; the answer then counts it.
        Events that the service reports as lost are sent again, once, if this client still has them. Raises
        RequestRefused, EventsLost, and ServiceUnavailable, also if tracked events could not be delivered in time.
        """
        if not after_flush:
            return self._ask(query)
        try:
            return self._ask(self._deliver_before(query))
        except EventsLost as error:
            with self._changed:
                count = self._delivery.send_again(error.lost, now=time.monotonic())
            if not count:
                raise
        return self._ask(self._deliver_before(query))

    def _deliver_before(self, query: Query[Answer]) -> Query[Answer]:
        is_delivered = self.flush(self._options.request_timeout_seconds)
        with self._changed:
            check_delivered(is_delivered, self._delivery)
            return query.after(self._delivery.positions)

    def _ask(self, query: Query[Answer]) -> Answer:
        attempts = QueryAttempts(self._parts.query_breaker, self._options)
        while True:
            with self._changed:
                attempts.check(now=time.monotonic())
            outcome: httpx2.Response | httpx2.HTTPError
            try:
                outcome = self._http.request(query.method, query.path, **wire.encode_query(query))
            except httpx2.HTTPError as error:
                outcome = error
            with self._changed:
                response = attempts.classify(outcome, now=time.monotonic())
            if response is not None:
                return wire.parse_answer(query, response)
            time.sleep(attempts.pause_seconds)

    def _check_open(self) -> None:
        if self._closing:
            raise ClientClosed("the client is closed")
        if os.getpid() != self._pid:
            raise ClientClosed("the process has forked: make a client in each child")

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="viewcounter-client", daemon=True)
        self._thread.start()

    def _overflow(self, event: PendingEvent) -> None:
        if self._options.overflow is Overflow.RAISE:
            raise BufferFull(f"{self._delivery.counters.pending} events wait already")
        if self._options.overflow is Overflow.BLOCK:
            self._changed.wait_for(lambda: self._delivery.has_room(event), self._options.block_seconds)
            if self._delivery.offer(event, now=time.monotonic()):
                return
        self._delivery.count_dropped()

    def _run(self) -> None:
        while (action := self._next_action()) is not None:
            self._act(action)
            with self._changed:
                self._changed.notify_all()

    def _next_action(self) -> Action | None:
        """Waits until there is something to do; None at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                if self._closing and (self._delivery.is_idle or now >= self._give_up_at):
                    return None
                action = self._delivery.next_action(now=now)
                if not isinstance(action, Wait):
                    return action
                if self._closing and is_futile(action, give_up_at=self._give_up_at, now=now):
                    return None
                self._changed.wait(plan_wait(action, give_up_at=self._give_up_at, now=now))

    def _act(self, action: Action) -> None:
        spool = self._parts.spool
        match action:
            case Send(events):
                verdict = self._post(events)
                with self._changed:
                    self._delivery.on_verdict(verdict, now=time.monotonic())
                report_rejection(verdict.rejection, self.counters)
                report_refused(verdict.refused, self._on_refused)
            case SendSpooled(max_events) if spool is not None:
                self._send_spooled(spool, max_events)
            case Store(events) if spool is not None:
                try:
                    spool.append(events)
                except OSError as error:
                    logger.error("cannot spool events: %s", error)
                    with self._changed:
                        self._delivery.on_store_failed(events, now=time.monotonic())
                else:
                    with self._changed:
                        self._delivery.on_stored(events)

    def _send_spooled(self, spool: Spool, max_events: int) -> None:
        try:
            part = read_part(spool, max_events)
        except OSError as error:
            logger.error("cannot read the spool: %s", error)
            with self._changed:
                self._delivery.on_spool_broken(now=time.monotonic())
            return
        with self._changed:
            self._delivery.on_read(part.sent)
        verdict, damaged = settle_part(spool, part, self._post(part.sent) if part.sent else Verdict())
        with self._changed:
            self._delivery.on_spooled_verdict(verdict, damaged=damaged, now=time.monotonic())
        report_rejection(verdict.rejection, self.counters)
        report_refused(verdict.refused, self._on_refused)

    def _post(self, events: Sequence[PendingEvent]) -> Verdict:
        content, headers = wire.encode_batch(events)
        try:
            response = self._http.post(wire.EVENTS_PATH, content=content, headers=headers)
        except httpx2.HTTPError as error:
            return build_failure(events, error)
        return wire.classify(events, response)


def _close_at_exit(reference: "weakref.ref[Client]") -> None:
    client = reference()
    if client is not None:
        client.close()
