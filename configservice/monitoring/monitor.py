"""Probes every instance at an interval, each in its own thread, so that a frozen instance delays no other probe.

Needs no control database: it goes on with the last topology. The connection of a probe stays open and is polled between
probes, so a server that hangs up is detected at once. When one instance of a shard fails, its others are probed at
once, since they are witnesses.
"""

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Mapping

from configservice.errors import ActionFailed, InstanceGone, InstanceRefuses, InstanceUnreachable
from configservice.monitoring.connections import Connect
from configservice.monitoring.probe_result import PROBE, InstanceState, ProbeResult
from configservice.settings import ConfigServiceSettings
from configservice.topology.model import Instance, Topology
from runtime.periodic import PeriodicTask

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
REPROBES = 4
"""Number of fast probes after a failure; then the usual interval applies again."""


class Monitor:
    """Thread-safe. `changed` is set whenever an instance starts or stops answering, or its state changes."""

    def __init__(self, connect: Connect, settings: ConfigServiceSettings) -> None:
        self.changed = threading.Event()
        self._connect = connect
        self._settings = settings
        self._watches: dict[str, InstanceMonitor] = {}  # changed by the caller of `watch` only

    def watch(self, topology: Topology) -> None:
        """Starts monitoring instances that are new or have another address; stops it for removed ones."""
        wanted = {i.name: (i, shard.name) for shard in topology.shards for i in shard.instances}
        for name, watch in list(self._watches.items()):
            if name not in wanted or not watch.is_for(wanted[name][0]):
                watch.stop()
                del self._watches[name]
        for name, (instance, shard_name) in wanted.items():
            if name not in self._watches:
                self._watches[name] = InstanceMonitor(
                    instance, shard_name, self._connect, self._settings, on_change=self._on_change
                )
                self._watches[name].start()

    def get_probes(self) -> Mapping[str, ProbeResult]:
        return {name: watch.probe for name, watch in list(self._watches.items())}

    def reset_after_pause(self) -> None:
        """Discards missed probes after this process was paused."""
        for watch in self._watches.values():
            watch.reset_after_pause()

    def close(self) -> None:
        for watch in self._watches.values():
            watch.stop()
        for watch in self._watches.values():
            watch.join(STOP_SECONDS)

    def _on_change(self, watch: "InstanceMonitor") -> None:
        """Runs in the thread of the watch."""
        if watch.probe.failure_count:
            for other in list(self._watches.values()):
                if other is not watch and other.shard_name == watch.shard_name:
                    other.wake()
        self.changed.set()


class InstanceMonitor:
    """One thread, one connection. `probe` is replaced as a whole, so any thread may read it without a lock."""

    def __init__(
        self,
        instance: Instance,
        shard_name: str,
        connect: Connect,
        settings: ConfigServiceSettings,
        *,
        on_change: "Callable[[InstanceMonitor], None]",
    ) -> None:
        self.shard_name = shard_name
        self.probe = ProbeResult(watched_since=time.monotonic())
        self._instance = instance
        self._settings = settings
        self._on_change = on_change
        self._connection = connect(instance)
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._lock = threading.Lock()  # the pipe must not be written to after it is closed
        self._task = PeriodicTask(f"watch-{instance.name}", self._run_once, interval_seconds=0.0, on_end=self._end)

    def is_for(self, instance: Instance) -> bool:
        """Whether `instance` has the monitored address. A change of its role needs no new monitor."""
        return (self._instance.host, self._instance.port, self._instance.database) == (
            instance.host,
            instance.port,
            instance.database,
        )

    def start(self) -> None:
        self._task.start()

    def wake(self) -> None:
        with self._lock:
            if self._wake_writer >= 0:
                try:
                    os.write(self._wake_writer, b"!")
                except BlockingIOError:
                    return  # the pipe is full, so the thread will wake up anyway

    def reset_after_pause(self) -> None:
        self.probe = self.probe.reset_after_pause(now=time.monotonic())

    def stop(self) -> None:
        self._task.stop()
        self.wake()

    def join(self, seconds: float) -> None:
        self._task.stop(timeout_seconds=seconds)

    def _run_once(self) -> None:
        before = self.probe
        self.probe = self._run_probe(before)
        if _has_changed(before, self.probe):
            self._on_change(self)
        self._wait()  # here and not in the task: it also waits for the connection to be closed by the server

    def _end(self) -> None:
        self._connection.close()
        with self._lock:
            os.close(self._wake_reader)
            os.close(self._wake_writer)
            self._wake_reader = self._wake_writer = -1

    def _run_probe(self, before: ProbeResult) -> ProbeResult:
        name = self._instance.name
        try:
            rows = self._connection.fetch(PROBE, timeout_seconds=self._settings.probe_seconds)
            state = InstanceState.from_row(rows[0])
        except InstanceUnreachable as error:
            now = time.monotonic()
            if before.failure_count == 0:
                logger.warning("%s does not answer: %s", name, error)
            return before.record_failure(str(error), is_gone=isinstance(error, InstanceGone), now=now)
        except (InstanceRefuses, ActionFailed) as error:
            # The server is up, so it must not be replaced; but its state is unknown.
            if before.failure != str(error):
                logger.error("%s cannot be probed: %s", name, error)
            return ProbeResult(before.watched_since, answered_at=time.monotonic(), failure=str(error))
        if before.failure_count:
            logger.info("%s answers again", name)
        return before.record_answer(state, now=time.monotonic())

    def _wait(self) -> None:
        """Waits until the next probe is due, the server hangs up, or `wake` is called."""
        fails_anew = 0 < self.probe.failure_count <= REPROBES
        seconds = self._settings.reprobe_seconds if fails_anew else self._settings.probe_interval_seconds
        poll = select.poll()
        poll.register(self._wake_reader, select.POLLIN)
        descriptor = self._connection.fileno()
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
        if poll.poll(seconds * 1000):
            try:
                os.read(self._wake_reader, 4096)
            except BlockingIOError:
                return


def _has_changed(before: ProbeResult, after: ProbeResult) -> bool:
    if before.answers != after.answers or 0 < after.failure_count <= REPROBES:
        return True
    old, new = before.state, after.state
    if old is None or new is None:
        return (old is None) != (new is None)
    return (old.in_recovery, old.is_receiving, old.is_read_only, old.is_detached) != (
        new.in_recovery,
        new.is_receiving,
        new.is_read_only,
        new.is_detached,
    )
