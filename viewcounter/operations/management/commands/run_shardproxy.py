"""`manage.py run_shardproxy`: watch instances, end sessions past their budget, measure health and lag."""

import argparse
from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from clusterproxy.errors import NoTopology
from configservice.topology import Topology
from shardproxy.daemon import Selection, plan_watches
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.eventlog.registry import get_event_log
from viewcounter.operations.local_cluster import StopSignals
from viewcounter.operations.shardproxy_process import ShardProxyProcess


class Command(BaseCommand):
    help = (
        "Watch database instances until SIGTERM: end sessions past their budget, measure health and lag, publish "
        "metrics. Any number may run, also of the same instances. See docs/operations/killer.md."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--shard", help="watch the instances of this shard")
        what.add_argument("--instance", help="watch this instance")
        what.add_argument("--all", action="store_true", help="watch every instance of the cluster (the default)")

    def handle(self, **options: Any) -> None:
        selection = Selection(shard=options["shard"], instance=options["instance"])
        cluster = get_cluster()
        with suppress(NoTopology):  # the process waits for one
            _check_selection(selection, cluster.topology)
        signals = StopSignals(lambda: None)
        signals.install()
        try:
            ShardProxyProcess(get_config(), selection, cluster=cluster, log=get_event_log()).run(signals.stopped)
        except OSError as error:
            raise CommandError(f"VIEWCOUNTER_SHARDPROXY_METRICS_BIND: {error}") from error
        finally:
            cluster.close()


def _check_selection(selection: Selection, topology: Topology) -> None:
    """Raises CommandError for a name that the topology does not know."""
    if plan_watches(topology, selection):
        return
    if selection.shard is not None:
        known = ", ".join(shard.name for shard in topology.shards)
        raise CommandError(f"--shard: there is no {selection.shard!r}; there are: {known}")
    known = ", ".join(i.name for shard in topology.shards for i in shard.instances)
    raise CommandError(f"--instance: there is no {selection.instance!r}; there are: {known}")
