"""What `manage.py demo` does: start the local cluster, replay the real sample, show that every count is exact."""

import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from devtools.local.cluster import build_local_cluster
from devtools.local.up_command import START_PARTS
from devtools.localcluster import LocalCluster
from devtools.localcluster.control import wait_until_ready
from devtools.localcluster.errors import LocalClusterError, StopRequested
from devtools.localcluster.state import StateFolder
from devtools.localcluster.status import read_status
from devtools.localcluster.supervisor import find_supervisor
from devtools.replay.plan import read_replay_options
from devtools.replay.session import run_and_report
from devtools.settings import DevtoolsConfig, get_devtools_config
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.scopes import Scope
from viewcounter.commands.stop_signals import INTERRUPTED_STATUS, StopSignals
from viewcounter.controlplane.preparation import ADMIN_NAME

KEY_NAME = "demo"


def run_demo(options: dict[str, Any]) -> None:
    """Exits with status 1 unless every count is exact."""
    config = get_devtools_config()
    # With --json, only the report goes to stdout.
    console = Console(file=sys.stderr if options["json"] else sys.stdout, highlight=False, soft_wrap=True)
    try:
        if find_supervisor(StateFolder(config.state_dir)) is None:
            is_exact = _demonstrate_own_cluster(config, options, console)
        else:
            is_exact = _demonstrate_running_cluster(config, options, console)
    except (StopRequested, KeyboardInterrupt):
        console.print("stopped")
        sys.exit(INTERRUPTED_STATUS)
    except LocalClusterError as error:
        raise CommandError(f"{type(error).__name__}: {error}") from error
    if not is_exact:
        sys.exit(1)


def _demonstrate_own_cluster(config: DevtoolsConfig, options: dict[str, Any], console: Console) -> bool:
    started_at = time.monotonic()

    def report(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - started_at:6.1f} s[/dim]  {line}", markup=True)

    is_started = threading.Event()
    with build_local_cluster(config, report=report) as cluster:

        def stop() -> None:
            cluster.cancel()
            # A start ends by itself after `cancel`; later steps are interrupted.
            if is_started.is_set():
                raise KeyboardInterrupt

        signals = StopSignals(stop)
        signals.install()
        cluster.start()
        key = _create_key_in(cluster)
        is_started.set()
        if signals.stopped.is_set():
            raise KeyboardInterrupt
        is_exact = _replay(config, options, url=cluster.web_url, key=key)
        _print_access(console, cluster.web_url, key=key, config=config)
        if not options["exit"]:
            console.print("Ctrl-C stops everything" if sys.stdout.isatty() else "bin/down stops everything")
            with suppress(KeyboardInterrupt):
                signals.stopped.wait()
        console.print("stopping")
    console.print("stopped")
    return is_exact


def _demonstrate_running_cluster(config: DevtoolsConfig, options: dict[str, Any], console: Console) -> bool:
    state = StateFolder(config.state_dir)
    wait_until_ready(state, within_seconds=START_PARTS * config.local.ready_seconds)
    url = read_status(state).web_url
    console.print(f"using the cluster that runs at {url}")
    _, key = create_key(KEY_NAME, list(Scope))
    is_exact = _replay(config, options, url=url, key=key)
    _print_access(console, url, key=key, config=config)
    return is_exact


def _create_key_in(cluster: LocalCluster) -> str:
    """In a process of its own: the settings of this one were read before the cluster had its ports."""
    output = cluster.run_command("create_api_key", KEY_NAME, "--scopes", ",".join(Scope), "--quiet")
    return output.split()[-1]


def _replay(config: DevtoolsConfig, options: dict[str, Any], *, url: str, key: str) -> bool:
    replay_options = read_replay_options(options, url=url, key=key)
    return run_and_report(replay_options, config=config, now=datetime.now(UTC), as_json=options["json"])


def _print_access(console: Console, url: str, *, key: str, config: DevtoolsConfig) -> None:
    password = StateFolder(config.state_dir).get_secret("admin_password")
    table = Table(show_header=False, box=None)
    for name, value in {
        "API docs": f"{url}/v1/docs",
        "API key": key,
        "admin": f"{url}/admin/",
        "admin user": ADMIN_NAME,
        "password": password,
    }.items():
        table.add_row(name, Text(value))
    console.print(table)
