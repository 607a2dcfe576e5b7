"""A primary that dies seconds ahead of its asynchronous replica: what it had committed last is gone with it."""

import time
from random import Random

from devtools.drill.faults.processes import KillFault, Victim
from devtools.drill.link import Link
from devtools.drill.site import FaultContext
from devtools.localcluster.postgres import PostgresServer
from devtools.localcluster.spec import SUPERUSER_ROLE

BEHIND_SECONDS = 4.0
STREAMING_SECONDS = 30.0


class KillAhead:
    """The replica's stream is held for some seconds, and then the primary dies. The log must have what is missing."""

    def __init__(self, site: FaultContext, rng: Random) -> None:
        self._site = site
        self._rng = rng
        self._link: Link | None = None
        self._kill: KillFault | None = None
        self.victim = ""
        self.shard: str | None = None

    def strike(self) -> None:
        site = self._site
        shard = self.shard = site.choose_shard(self._rng)
        primary, replica = site.get_primary(shard), site.get_replica(shard, self._rng)
        link = self._link = site.links.open(f"the stream from {primary.name}", primary.port)
        _follow_through(replica, link)
        site.await_none(
            lambda: _find_other_port(replica, link), what=f"{replica.name} behind a link", seconds=STREAMING_SECONDS
        )
        link.hold()
        time.sleep(BEHIND_SECONDS)
        victim = Victim(primary.name, primary, primary.pid, shard, is_primary=True)
        self._kill = KillFault(site, lambda _site, _rng: victim, self._rng)
        self._kill.strike()
        self.victim = primary.name

    def heal(self) -> None:
        if self._link is not None:
            self._link.mend()
        if self._kill is not None:
            self._kill.heal()


def _follow_through(replica: PostgresServer, link: Link) -> None:
    """By the hand of an operator: another port than the one it has."""
    with replica.session(user=SUPERUSER_ROLE) as connection:
        row = connection.execute("SELECT current_setting('primary_conninfo')").fetchone()
        parts = (row[0] if row else "").split()
        through = " ".join(f"port={link.port}" if part.startswith("port=") else part for part in parts)
        connection.execute(f"ALTER SYSTEM SET primary_conninfo = '{through}'".encode())
        connection.execute("SELECT pg_reload_conf()")


def _find_other_port(replica: PostgresServer, link: Link) -> str | None:
    with replica.session(user=SUPERUSER_ROLE) as connection:
        row = connection.execute("SELECT status, sender_port FROM pg_stat_wal_receiver").fetchone()
    return None if row == ("streaming", link.port) else f"it follows by {row}"
