"""Bounds the requests that Django works on at once, by kind.

Each of them takes a thread, which shares the interpreter with the event loop. Requests with a secret key are bounded by
the rate limits of the key; anybody can send the others. Requests past the bound wait on the event loop, without a
thread.
"""

import asyncio
from typing import Any

from runtime.errors import Retryable
from runtime.http.asgi import AsgiApplication, Receive, Send
from runtime.http.errors import TryLater
from runtime.http.problems import Problem
from runtime.metrics import WEB_REQUESTS_SHED
from viewcounter.web.settings import LogInSettings, WebSettings

ADMIN_START = "/admin/"
LOG_IN_PATH = "/admin/login/"
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
_RETRY_AFTER = ((b"retry-after", b"5"),)


class NoSlot(Exception, Retryable):
    """Too many requests of this kind are in progress in this process, or the request waited too long for a slot."""


class Slots:
    """Lives on one event loop. `max_waiting` requests wait for a slot, each `wait_seconds` at most, in order."""

    def __init__(self, *, max_at_once: int, max_waiting: int, wait_seconds: float) -> None:
        self._free = asyncio.Semaphore(max_at_once)
        self._max_waiting = max_waiting
        self._wait_seconds = wait_seconds
        self._waiting_count = 0

    async def serve(self, application: AsgiApplication, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Raises NoSlot before the application is called.

        The slot is free again when the response begins: a client that does not read its response holds none.
        """
        await self._enter()
        is_held = True

        def leave() -> None:
            nonlocal is_held
            if is_held:
                is_held = False
                self._free.release()

        async def leave_and_send(message: dict[str, Any]) -> None:
            leave()
            await send(message)

        try:
            await application(scope, receive, leave_and_send)
        finally:
            leave()

    async def _enter(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        if self._waiting_count >= self._max_waiting:
            raise NoSlot
        self._waiting_count += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise NoSlot from error
        finally:
            self._waiting_count -= 1


class DjangoShares:
    """Slots for each kind of request, on one event loop. One kind never uses the slots of another: health checks pass
    while log-ins wait."""

    def __init__(self, web: WebSettings, log_in: LogInSettings) -> None:
        wait_seconds = web.keyless_wait_seconds
        at_once, waiting = web.keyless_max_at_once, web.keyless_max_waiting
        self._slots = {
            kind: Slots(max_at_once=most, max_waiting=queue, wait_seconds=wait_seconds)
            for kind, most, queue in (
                ("keyless", at_once, waiting),
                ("health", at_once, waiting),
                ("log_in", log_in.max_at_once, log_in.max_waiting),
            )
        }

    async def serve(
        self, application: AsgiApplication, scope: dict[str, Any], receive: Receive, send: Send, *, is_trusted: bool
    ) -> None:
        """Raises TryLater (503). `is_trusted`: the request has a secret key."""
        kind = _find_kind(scope, is_trusted=is_trusted)
        if kind is None:
            await application(scope, receive, send)
            return
        try:
            await self._slots[kind].serve(application, scope, receive, send)
        except NoSlot as error:
            WEB_REQUESTS_SHED.labels(kind).inc()
            problem = Problem(503, "overloaded", "Too many requests of this kind at once; this one was not processed.")
            raise TryLater(problem, headers=_RETRY_AFTER, adds_retry_after=False) from error


def _find_kind(scope: dict[str, Any], *, is_trusted: bool) -> str | None:
    if scope["path"] == LOG_IN_PATH and scope["method"] == "POST":
        return "log_in"
    if scope["path"] in HEALTH_PATHS:
        return "health"
    return None if is_trusted else "keyless"
