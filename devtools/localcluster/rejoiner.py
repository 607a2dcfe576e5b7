"""Turns old primaries into replicas: after a failover each rejoins the new primary without an operator.

Watches files only, until the data of two instances of a shard say primary; the one with the later timeline is right.
Never promotes: the config service or an operator does.
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

LOOK_SECONDS = 1.0
RETRY_SECONDS = 5.0
READY_SECONDS = 60.0
FOLLOW_SECONDS = 15.0


class Rejoiner:
    """One thread. `shards` may grow while it runs. Invariant: instances stopped on purpose are never changed."""

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
        self._thread = threading.Thread(target=self._run, name="localcluster-rejoiner", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when no instance is changed any longer: a running rejoin is ended first."""
        self._stopping.set()
        self._waiter.stop()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            for instances in list(self._shards.values()):
                for server in find_superseded(instances):
                    self._try_rejoin(server, instances)

    def _try_rejoin(self, server: PostgresServer, instances: tuple[PostgresServer, ...]) -> None:
        if self._stopping.is_set() or not server.is_wanted:
            return
        if time.monotonic() < self._not_before.get(server.name, 0.0):
            return
        self._not_before[server.name] = time.monotonic() + RETRY_SECONDS
        primary = find_primary(instances)
        if primary is None or not primary.is_running or not is_primary_now(primary):
            return
        self._report(f"{server.name} is no longer the primary: making it a replica of {primary.name}")
        try:
            self._rejoin(server, primary)
        except (LocalClusterError, OSError, psycopg.Error) as error:
            self._report(f"{server.name} could not rejoin, retrying: {error}")
        else:
            self._report(f"{server.name} is a replica of {primary.name}")

    def _rejoin(self, server: PostgresServer, primary: PostgresServer) -> None:
        """Rewind its data; copy the primary if the server then does not start or does not follow the new timeline.

        Both in one call: once the data say replica, this thread does not see the server as superseded again.
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
    """Instances whose data say primary although another one has a later timeline, and instances without data.

    Not frozen ones: they cannot be shut down, only killed, and a test may have frozen one to see it wake.
    """
    primaries = [instance for instance in instances if instance.exists and not instance.is_replica]
    newest = max((instance.timeline for instance in primaries), default=0)
    superseded = [instance for instance in primaries if instance.timeline < newest and not instance.is_frozen]
    return [*superseded, *(instance for instance in instances if not instance.exists)]
