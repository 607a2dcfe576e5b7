"""How a new epoch reaches other processes, also when cache or control database do not answer."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest
from django.db import connections

from configservice.models import Instance
from configservice.topology.publication import publish
from configservice.topology.signing import make_signing_key_file, read_signing_key
from devtools.localcluster import LocalCluster
from devtools.localcluster.signing_key import SETTING
from tests.processes import running
from tests.waiting import wait_until

NEVER_SECONDS = "3600"

HOLDER = """
import sys, time
import django
django.setup()
from viewcounter.cluster import get_cluster
known = 0
while True:
    epoch = get_cluster().topology.epoch
    if epoch != known:
        known = epoch
        print(epoch, time.time(), flush=True)
    time.sleep(0.002)
"""


class Holder:
    """Another process, which writes each epoch that it receives to a file."""

    def __init__(self, said: Path) -> None:
        self._said = said

    def wait_for(self, epoch: int) -> float:
        """When it received `epoch`, by the clock of this machine."""

        def find_line() -> str:
            lines = self._said.read_text().splitlines(keepends=True)
            return next((line for line in lines if line.startswith(f"{epoch} ") and line.endswith("\n")), "")

        return float(wait_until(find_line, what=f"epoch {epoch} in another process").split()[1])


@contextmanager
def run_holder(cluster: LocalCluster, state_dir: Path, **settings: str) -> Iterator[Holder]:
    environment = cluster.environment | {
        "DJANGO_SETTINGS_MODULE": "viewcounter.settings",
        "VIEWCOUNTER_STATE_DIR": str(state_dir),
        **{f"VIEWCOUNTER_{name}": value for name, value in settings.items()},
    }
    said = state_dir.with_name(f"said by {next(_numbers)}")
    with (
        said.open("w") as output,
        running([sys.executable, "-c", HOLDER], environment=environment, stdout=output.fileno()),
    ):
        yield Holder(said)


_numbers = count()


@pytest.fixture
def control(servers: LocalCluster, django_db_blocker):
    """The session's control database; the one thing changed is put back."""
    with django_db_blocker.unblock():
        yield servers
        publish_zone("local")


def publish_zone(zone: str) -> tuple[int, float]:
    """Changes something harmless. Returns the epoch and when it was published."""
    connections.close_all()  # a test may have killed what was at the other end
    Instance.objects.filter(name="shard2b").update(zone=zone)
    return publish(reason=f"zone {zone}", actor="test").epoch, time.time()


def test_another_process_holds_a_new_epoch_by_push_and_by_polling(control, tmp_path, record_property):
    epoch, _ = publish_zone("local")
    with (
        run_holder(control, tmp_path / "pushed", CLUSTER_TOPOLOGY_POLL_SECONDS=NEVER_SECONDS) as pushed,
        run_holder(control, tmp_path / "polled") as polled,
    ):
        pushed.wait_for(epoch)
        polled.wait_for(epoch)
        epoch, at = publish_zone("east")
        record_property("held_by_push_seconds", pushed.wait_for(epoch) - at)
        control.server("broker").kill()
        try:
            epoch, at = publish_zone("west")
            record_property("held_by_poll_seconds", polled.wait_for(epoch) - at)
        finally:
            control.server("broker").start()
            control.server("broker").wait_ready()
        # Back, the cache has lost its content, and those who listen have missed an epoch.
        pushed.wait_for(epoch)


def test_processes_start_and_stay_without_control_database_and_cache(control, tmp_path):
    epoch, _ = publish_zone("south")
    state_dir = tmp_path / "one host"
    with run_holder(control, state_dir) as running:
        running.wait_for(epoch)
        control.server("control").kill()
        try:
            with run_holder(control, tmp_path / "another host") as from_cache:
                from_cache.wait_for(epoch)
            control.server("broker").kill()
            with run_holder(control, state_dir) as from_disk:
                from_disk.wait_for(epoch)
        finally:
            for name in ("control", "broker"):
                control.server(name).start()
                control.server(name).wait_ready()
        epoch, _ = publish_zone("local")
        running.wait_for(epoch)


def test_what_a_process_without_the_key_publishes_reaches_others_signed(control, tmp_path, settings, record_property):
    key_file, service = settings.TOPOLOGY_SIGNING_KEY_FILE, [sys.executable, "manage.py", "run_configservice"]
    epoch, _ = publish_zone("local")
    with run_holder(control, tmp_path / "host", CLUSTER_TOPOLOGY_POLL_SECONDS=NEVER_SECONDS) as holder:
        holder.wait_for(epoch)
        with running(service, environment=control.environment | {SETTING: str(key_file)}, stdout=subprocess.DEVNULL):
            settings.TOPOLOGY_SIGNING_KEY_FILE = None
            epoch, _ = publish_zone("north")  # perhaps before the service listens
            holder.wait_for(epoch)
            seconds = []
            for zone in ("east", "west", "south", "north", "east", "west", "south", "north", "east"):
                epoch, at = publish_zone(zone)
                seconds.append(holder.wait_for(epoch) - at)
            record_property("held_signed_by_another_seconds", sorted(seconds)[len(seconds) // 2])
        settings.TOPOLOGY_SIGNING_KEY_FILE = key_file


def test_keys_are_exchanged_while_processes_hold_every_epoch(control, tmp_path, settings):
    """Add the new public key, sign with the new key, remove the old one: no process lacks the newest topology."""
    old = read_signing_key(settings.TOPOLOGY_SIGNING_KEY_FILE)
    new = make_signing_key_file(tmp_path / "new")
    epoch, _ = publish_zone("local")
    keys = {"old": old.public, "both": f"{old.public},{new.public}", "new": new.public}
    with ExitStack() as stack:

        def start(name: str) -> Holder:
            return stack.enter_context(run_holder(control, tmp_path / name, CLUSTER_TOPOLOGY_PUBLIC_KEYS=keys[name]))

        holders = [start("old"), start("both")]
        for holder in holders:
            holder.wait_for(epoch)
        settings.TOPOLOGY_SIGNING_KEY_FILE = tmp_path / "new"
        publish(reason="signed again", actor="test")
        holders = [holders[1], start("new")]
        holders[1].wait_for(epoch)
        epoch, _ = publish_zone("east")
        for holder in holders:
            holder.wait_for(epoch)
    settings.TOPOLOGY_SIGNING_KEY_FILE = Path(os.environ[SETTING])
