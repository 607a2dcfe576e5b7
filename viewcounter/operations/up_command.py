"""What `manage.py up` does: the whole of viewcounter on this machine."""

import os
import sys
import time

from django.core.management.base import CommandError
from rich.console import Console

from localcluster.control import start_detached, wait_until_ready
from localcluster.errors import AlreadyRunning, LocalClusterError, StopRequested
from localcluster.state import StateFolder
from localcluster.status import read_status
from localcluster.supervisor import find_supervisor
from viewcounter.config import Config, get_config
from viewcounter.config.kinds import PROJECT_ROOT
from viewcounter.operations.local_cluster import START_PARTS, build_local_cluster
from viewcounter.operations.stop_signals import INTERRUPTED_STATUS, StopSignals


def run_up(*, is_detached: bool) -> None:
    """Until it is stopped; detached, until it is ready. Raises CommandError."""
    config = get_config()
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    state = StateFolder(config.state_dir)
    try:
        if is_detached:
            _run_detached(config, state, console)
        else:
            _run_foreground(config, console)
    except AlreadyRunning as error:
        raise CommandError(f"{error}; bin/status shows it, bin/down stops it") from error
    except StopRequested:
        sys.exit(INTERRUPTED_STATUS)
    except LocalClusterError as error:
        raise CommandError(f"{type(error).__name__}: {error}") from error


def _run_foreground(config: Config, console: Console) -> None:
    started_at = time.monotonic()

    def report(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - started_at:6.1f} s[/dim]  {line}", markup=True)

    with build_local_cluster(config, report=report) as cluster:
        signals = StopSignals(cluster.cancel)
        signals.install()
        try:
            cluster.start()
        except StopRequested:
            console.print("stopping")
            raise
        except LocalClusterError:
            cluster.stop(failed=True)
            raise
        _print_addresses(console, cluster.web_url, config)
        console.print("Ctrl-C stops everything" if sys.stdout.isatty() else "bin/down stops everything")
        signals.stopped.wait()
        console.print("stopping")
    console.print("stopped")


def _run_detached(config: Config, state: StateFolder, console: Console) -> None:
    within_seconds = START_PARTS * config.local_ready_seconds
    if find_supervisor(state) is not None:
        wait_until_ready(state, within_seconds=within_seconds)
        console.print("already running")
        _print_addresses(console, read_status(state).web_url, config)
        return
    start_detached(
        [sys.executable, str(PROJECT_ROOT / "manage.py"), "up"],
        state,
        environment=os.environ,
        within_seconds=within_seconds,
        relay=lambda line: console.print(line, markup=False),
    )


def _print_addresses(console: Console, url: str, config: Config) -> None:
    password_file = config.state_dir / "secrets" / "admin_password"
    console.print(f"events     POST {url}/v1/events")
    console.print(f"API docs   {url}/v1/docs")
    console.print(f"admin      {url}/admin/  user admin, password in {password_file}")
