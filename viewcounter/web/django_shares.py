"""How much of a process Django may take: every request has a thread of its own there, which shares the interpreter with
the event loop. Requests with a secret key are counted on by their limits; anybody can send the others.
"""

from typing import Any

from runtime.http.problems import Problem
from runtime.metrics import WEB_REQUESTS_SHED
from viewcounter.config import Config
from viewcounter.ingest.errors import NoSlot, Refused
from viewcounter.web.body import Receive
from viewcounter.web.slots import AsgiApplication, Send, Slots

ADMIN_START = "/admin/"
LOG_IN_PATH = "/admin/login/"
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
_RETRY_AFTER = ((b"retry-after", b"5"),)


class DjangoShares:
    """Lives on one event loop. A kind that is used up takes nothing from the others: a balancer still sees that the
    process is well, and a waiting log-in keeps nobody from reading."""

    def __init__(self, config: Config) -> None:
        wait_seconds = config.web_keyless_wait_seconds
        at_once, waiting = config.web_keyless_max_at_once, config.web_keyless_max_waiting
        self._slots = {
            kind: Slots(max_at_once=most, max_waiting=queue, wait_seconds=wait_seconds)
            for kind, most, queue in (
                ("keyless", at_once, waiting),
                ("health", at_once, waiting),
                ("log_in", config.log_in_max_at_once, config.log_in_max_waiting),
            )
        }

    async def serve(
        self, application: AsgiApplication, scope: dict[str, Any], receive: Receive, send: Send, *, is_trusted: bool
    ) -> None:
        """Raises Refused (503). `is_trusted`: the request has a secret key."""
        kind = _find_kind(scope, is_trusted=is_trusted)
        if kind is None:
            await application(scope, receive, send)
            return
        try:
            await self._slots[kind].serve(application, scope, receive, send)
        except NoSlot as error:
            WEB_REQUESTS_SHED.labels(kind).inc()
            problem = Problem(503, "overloaded", "Too many requests of this kind at once; this one was not looked at.")
            raise Refused(problem, headers=_RETRY_AFTER) from error


def _find_kind(scope: dict[str, Any], *, is_trusted: bool) -> str | None:
    if scope["path"] == LOG_IN_PATH and scope["method"] == "POST":
        return "log_in"
    if scope["path"] in HEALTH_PATHS:
        return "health"
    return None if is_trusted else "keyless"
