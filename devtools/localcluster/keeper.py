"""Watches for old primaries: after a failover each becomes a replica of the new one, with nobody's help.

It looks at files only, until there are two primaries of a shard; the one of the later timeline is it. Nothing here
decides who is promoted: that is the config service, or a hand.
"""

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

import psycopg

from devtools.localcluster.errors import LocalClusterError, NotReady
from devtools.localcluster.postgres import PostgresServer, find_primary
from devtools.localcluster.rejoin import drop_idle_slots, find_missing_timeline, is_primary_now, rejoin
from devtools.localcluster.state import StateFolder
from devtools.localcluster.waiting import Waiter

LOOK_SECONDS = 0.5
RETRY_SECONDS = 5.0
READY_SECONDS = 60.0
FOLLOW_SECONDS = 15.0


class ShardKeeper:
    """One thread. `shards` may grow while it runs. Invariant: it touches no instance that is stopped on purpose."""

    def __init__(
        self,
        shards: Mapping[str, tuple[PostgresServer, ...]],
        *,
        state: StateFolder,
        report: Callable[[str], None],
    ) -> None:
        self._shards = shards
        self._state = state
        self._report = report
        self._waiter = Waiter()
        self._not_before: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="devtools.localcluster-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when nothing is changed any more: a rejoin under way is ended first."""
        self._stopping.set()
        self._waiter.stop()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            for instances in list(self._shards.values()):
                for server in find_superseded(instances):
                    self._take_back(server, instances)

    def _take_back(self, server: PostgresServer, instances: tuple[PostgresServer, ...]) -> None:
        if self._stopping.is_set() or not server.is_wanted:
            return
        if time.monotonic() < self._not_before.get(server.name, 0.0):
            return
        self._not_before[server.name] = time.monotonic() + RETRY_SECONDS
        primary = find_primary(instances)
        if primary is None or not primary.is_running or not is_primary_now(primary):
            return
        self._report(f"{server.name} is no longer primary: making it a replica of {primary.name}")
        try:
            self._rejoin(server, primary)
        except (LocalClusterError, OSError, psycopg.Error) as error:
            self._report(f"{server.name} has not rejoined, trying again: {error}")
        else:
            self._report(f"{server.name} is a replica of {primary.name}")

    def _rejoin(self, server: PostgresServer, primary: PostgresServer) -> None:
        """By rewinding, and if it then does not start, or does not follow the new history, by copying.

        One that was left as a replica that does not start would not be looked at again: its data say replica.
        """
        for by_copy in (False, True):
            with server.taken_down() as was_wanted:
                if not was_wanted:
                    return
                rejoin(
                    server,
                    primary=primary,
                    superuser_password=self._state.get_secret("postgres_password"),
                    replication_password=self._state.get_secret("replication_password"),
                    report=self._report,
                    by_copy=by_copy,
                )
            try:
                server.wait_ready(within_seconds=READY_SECONDS)
                self._waiter.wait_until(
                    partial(find_missing_timeline, server, primary=primary),
                    what=f"{server.name} behind {primary.name}",
                    within_seconds=FOLLOW_SECONDS,
                )
            except NotReady as error:
                self._report(str(error))
            else:
                drop_idle_slots(server)
                return


def find_superseded(instances: tuple[PostgresServer, ...]) -> list[PostgresServer]:
    """Those whose data say primary while another one's say so of a later timeline, or that have lost their data.

    Not frozen ones: they cannot be stopped in order, only killed, and whoever has frozen one may want to see it wake.
    """
    primaries = [instance for instance in instances if instance.exists and not instance.is_replica]
    newest = max((instance.timeline for instance in primaries), default=0)
    superseded = [instance for instance in primaries if instance.timeline < newest and not instance.is_frozen]
    return [*superseded, *(instance for instance in instances if not instance.exists)]
