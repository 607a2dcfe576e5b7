"""`manage.py run_shardproxy`: watch instances, end sessions past their budget, measure health and lag."""

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from clusterproxy.errors import NoTopology
from commandline.command import Subject
from configservice.topology.model import Topology
from viewcounter.commands.counting_command import CountingCommand

if TYPE_CHECKING:
    from shardproxy.daemon import Selection


class Command(CountingCommand):
    subject = Subject.RUN
    help = (
        "Run a shard proxy, which watches instances and ends overlong sessions. It also measures health and lag, and "
        "publishes metrics. Any number may run, also of the same instances. SIGTERM stops it. See "
        "docs/operations/session-reaper.md."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--shard", metavar="NAME", help="watch the instances of this shard only")
        what.add_argument("--instance", metavar="NAME", help="watch this instance only")
        what.add_argument("--all", action="store_true", help="watch every instance of the cluster (the default)")

    def handle(self, **options: Any) -> None:
        from shardproxy.daemon import Selection
        from viewcounter.cluster import get_cluster
        from viewcounter.commands.stop_signals import StopSignals
        from viewcounter.config import get_config
        from viewcounter.eventlog.registry import get_event_log
        from viewcounter.shardwatch.process import ShardProxyProcess

        selection = Selection(shard=options["shard"], instance=options["instance"])
        cluster = get_cluster()
        with suppress(NoTopology):  # the process waits for a topology
            _check_selection(selection, cluster.topology)
        signals = StopSignals(lambda: None)
        signals.install()
        try:
            ShardProxyProcess(get_config(), selection, cluster=cluster, log=get_event_log()).run(signals.stopped)
        except OSError as error:
            raise CommandError(f"VIEWCOUNTER_SHARDPROXY_METRICS_BIND: {error}") from error
        finally:
            cluster.close()


def _check_selection(selection: "Selection", topology: Topology) -> None:
    """Raises CommandError for a shard or instance that is not in the topology."""
    from shardproxy.daemon import plan_watches

    if plan_watches(topology, selection):
        return
    if selection.shard is not None:
        known = ", ".join(shard.name for shard in topology.shards)
        raise CommandError(f"--shard: there is no {selection.shard!r}; there are: {known}")
    known = ", ".join(i.name for shard in topology.shards for i in shard.instances)
    raise CommandError(f"--instance: there is no {selection.instance!r}; there are: {known}")
