"""What `manage.py up` does: start the local cluster and supervise it."""

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

from django.core.management.base import CommandError

from devtools.local.access import describe_access, write_tryout
from devtools.localcluster.applications import PROJECT_ROOT
from devtools.localcluster.control import await_detached, find_web_url, spawn_detached, wait_until_ready
from devtools.localcluster.errors import AlreadyRunning, LocalClusterError, StopRequested
from devtools.localcluster.state import StateFolder, find_state_dir
from devtools.localcluster.supervisor import find_supervisor
from viewcounter.commands.stop_signals import INTERRUPTED_STATUS, StopSignals

START_PARTS = 3
"""Servers, preparation and applications: each start has its own time limit."""

Write = Callable[[str], None]


def run_up(*, is_detached: bool, is_supervisor: bool, write: Write) -> None:
    """Blocks until the cluster is stopped; detached, until it is ready. Raises CommandError.

    `is_supervisor`: started by a detached command, which prints the access itself, since keys must not be in a log.
    """
    state = StateFolder(find_state_dir(os.environ, default=PROJECT_ROOT / ".local"))
    try:
        if is_detached:
            _run_detached(state, write)
        else:
            _run_foreground(state, write, shows_access=not is_supervisor)
    except AlreadyRunning as error:
        raise CommandError(f"{error}; bin/status shows it, bin/down stops it") from error
    except StopRequested:
        sys.exit(INTERRUPTED_STATUS)
    except LocalClusterError as error:
        raise CommandError(f"{type(error).__name__}: {error}") from error


def _run_foreground(state: StateFolder, write: Write, *, shows_access: bool) -> None:
    from devtools.local.cluster import build_local_cluster
    from devtools.settings import get_devtools_config

    started_at = time.monotonic()

    def report(line: str) -> None:
        write(f"{time.monotonic() - started_at:6.1f} s  {line}")

    with build_local_cluster(get_devtools_config(), report=report) as cluster:
        signals = StopSignals(cluster.cancel)
        signals.install()
        try:
            cluster.start()
        except StopRequested:
            write("stopping")
            raise
        except LocalClusterError:
            cluster.stop(failed=True)
            raise
        if shows_access:
            _show_access(cluster.web_url, state, write)
            write("Ctrl-C stops everything" if sys.stdout.isatty() else "bin/down stops everything")
        signals.stopped.wait()
        write("stopping")
    write("stopped")


def _run_detached(state: StateFolder, write: Write) -> None:
    if find_supervisor(state) is not None:
        wait_until_ready(state, within_seconds=_get_start_seconds())
        write("already running")
    else:
        command = [sys.executable, str(PROJECT_ROOT / "manage.py"), "up", "--supervisor"]
        process = spawn_detached(command, state, environment=os.environ)
        # Loaded here so that it overlaps with the start of the supervisor.
        await_detached(process, state, within_seconds=_get_start_seconds(), relay=write)
    _show_access(find_web_url(state), state, write)
    write("bin/down stops everything")


def _get_start_seconds() -> float:
    from devtools.settings import get_devtools_config

    return START_PARTS * get_devtools_config().local.ready_seconds


def _show_access(url: str, state: StateFolder, write: Write) -> None:
    write_tryout(url, state)
    for line in describe_access(url, state, now=datetime.now(UTC), event_id=uuid4()):
        write(line)
