"""Clients that misbehave, and an event that cannot be counted."""

import time
from datetime import UTC, datetime
from random import Random
from uuid import UUID

from devtools.drill.context import FaultContext
from devtools.drill.errors import NoVictim
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.redis_streams import RedisEventLog

SKEW_SECONDS = 600.0
APPEND_SECONDS = 30.0
LOG_TIMEOUT_SECONDS = 1.0
_A_TYPE = 1


class Replays:
    """Every batch is followed by an already acknowledged one, as from a client or a proxy that repeats requests."""

    shard: str | None = None

    def __init__(self, context: FaultContext) -> None:
        self._client_faults = context.load.client_faults
        self.victim = "every client"

    def strike(self) -> None:
        self._client_faults.replay_share = 1.0

    def heal(self) -> None:
        self._client_faults.replay_share = 0.0


class SkewedClocks:
    """The clock of one client is ten minutes fast, that of another one ten minutes slow."""

    shard: str | None = None

    def __init__(self, context: FaultContext) -> None:
        self._context = context
        self._client_faults = context.load.client_faults
        self.victim = "clients 0 and 1"

    def strike(self) -> None:
        self._client_faults.skew_seconds = {0: SKEW_SECONDS, 1: -SKEW_SECONDS}

    def heal(self) -> None:
        """Also waits for batches with a wrong time: while the log is down they may be refused much later."""
        self._client_faults.skew_seconds = {}
        client_faults = self._client_faults
        self._context.await_none(
            lambda: f"clients {client_faults.skewed} still send" if client_faults.skewed else None,
            what="batches with a wrong time",
        )


class PoisonEvent:
    """An event, written to the log directly, that no shard can store: PostgreSQL's text cannot hold NUL."""

    shard: str | None = None

    def __init__(self, context: FaultContext, rng: Random) -> None:
        self._context = context
        self._rng = rng
        self.victim = ""

    def strike(self) -> None:
        context = self._context
        partition = self._rng.randrange(context.cluster.spec.partitions)
        event_id = UUID(int=self._rng.getrandbits(128), version=4)
        now_us = int(datetime.now(UTC).timestamp()) * 1_000_000
        payload = pack_entry([AcceptedEvent(event_id.bytes, "b\0d", _A_TYPE, now_us, 0)], received_us=now_us)
        self.victim = f"the log of partition {partition}"
        with context.lock:
            context.poison.add(event_id)
        log = RedisEventLog(context.cluster.environment["VIEWCOUNTER_LOG_URL"], timeout_seconds=LOG_TIMEOUT_SECONDS)
        give_up_at = time.monotonic() + APPEND_SECONDS
        try:
            # Repeated after an unknown outcome: under the same id it becomes the same dead letter.
            while not log.append({partition: payload}).positions:
                if time.monotonic() > give_up_at:
                    raise NoVictim("the log refuses an entry")
                time.sleep(0.2)
        finally:
            log.close()

    def heal(self) -> None:
        return
