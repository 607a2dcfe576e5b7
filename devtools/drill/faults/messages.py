"""Clients that misbehave, and a log that holds what cannot be counted."""

import time
from datetime import UTC, datetime
from random import Random
from uuid import UUID

from devtools.drill.errors import NoVictim
from devtools.drill.site import FaultContext
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.redis_streams import RedisEventLog

SKEW_SECONDS = 600.0
APPEND_SECONDS = 30.0
LOG_TIMEOUT_SECONDS = 1.0
_A_TYPE = 1


class Replays:
    """Every batch is followed by one that had been acknowledged before: a client, or a proxy, that sends it again."""

    shard: str | None = None

    def __init__(self, site: FaultContext) -> None:
        self._mischief = site.load.mischief
        self.victim = "every client"

    def strike(self) -> None:
        self._mischief.replay_share = 1.0

    def heal(self) -> None:
        self._mischief.replay_share = 0.0


class SkewedClocks:
    """The clock of one client is ten minutes ahead, that of another one ten minutes late."""

    shard: str | None = None

    def __init__(self, site: FaultContext) -> None:
        self._site = site
        self._mischief = site.load.mischief
        self.victim = "clients 0 and 1"

    def strike(self) -> None:
        self._mischief.skew_seconds = {0: SKEW_SECONDS, 1: -SKEW_SECONDS}

    def heal(self) -> None:
        """And wait for batches that carry the wrong time: they may be refused much later, if the log is away."""
        self._mischief.skew_seconds = {}
        mischief = self._mischief
        self._site.await_none(
            lambda: f"clients {mischief.skewed} still send" if mischief.skewed else None,
            what="batches of a wrong clock",
        )


class PoisonEvent:
    """An event past the edge that no shard can store: PostgreSQL's text holds no NUL."""

    shard: str | None = None

    def __init__(self, site: FaultContext, rng: Random) -> None:
        self._site = site
        self._rng = rng
        self.victim = ""

    def strike(self) -> None:
        site = self._site
        partition = self._rng.randrange(site.cluster.spec.partitions)
        event_id = UUID(int=self._rng.getrandbits(128), version=4)
        now_us = int(datetime.now(UTC).timestamp()) * 1_000_000
        payload = pack_entry([AcceptedEvent(event_id.bytes, "b\0d", _A_TYPE, now_us, 0)], received_us=now_us)
        self.victim = f"the log of partition {partition}"
        with site.lock:
            site.poison.add(event_id)
        log = RedisEventLog(site.cluster.environment["VIEWCOUNTER_LOG_URL"], timeout_seconds=LOG_TIMEOUT_SECONDS)
        give_up_at = time.monotonic() + APPEND_SECONDS
        try:
            # Once more where the outcome is unknown: under the same id it is the same dead letter.
            while not log.append({partition: payload}).positions:
                if time.monotonic() > give_up_at:
                    raise NoVictim("the log takes no entry")
                time.sleep(0.2)
        finally:
            log.close()

    def heal(self) -> None:
        return
