"""`manage.py accept_log_loss`: record which entries the event log has lost, and go on without them."""

import getpass
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from clusterproxy.errors import ClusterProxyError
from commandline.command import OperatorCommand, Subject
from runtime.prompts import confirm
from shardproxy.errors import ShardProxyError
from viewcounter.eventlog.errors import EventLogError


class Command(OperatorCommand):
    subject = Subject.CLUSTER
    examples = ('manage.py accept_log_loss --reason "the disk of host7 died"',)
    help = (
        "Go on without the entries that the event log has lost. For a log server that has lost its data or is new: "
        "gateways refuse it (log_lost) until this command confirms that its entries are lost for good. Also for a "
        "shard that is behind the oldest entries of the log, after a forced failover or a restored backup: its "
        "partitions have stopped. Lost events are not counted, unless clients send them again. The losses are recorded "
        "by partition, with your name and reason; then events are accepted and counted again. Events in the spools of "
        "gateways are not lost."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--reason", required=True, metavar="TEXT", help="how the log was lost; stored with the record"
        )
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    def handle(self, *args: Any, **options: Any) -> None:
        from viewcounter.cluster import get_cluster
        from viewcounter.controlplane.event_log import LogRefused, accept_loss, find_losses
        from viewcounter.eventlog.registry import get_event_log

        cluster, log = get_cluster(), get_event_log()
        actor = f"{getpass.getuser()} (manage.py accept_log_loss)"
        try:
            for loss in find_losses(cluster, log):
                self.stdout.write(f"partition {loss.partition} ({loss.shard}): lost after {loss.position}")
            if not options["yes"]:
                confirm("Events acknowledged after these positions and not counted yet are lost. Go on?")
            topology = accept_loss(cluster, log, actor=actor, reason=options["reason"])
        except (LogRefused, EventLogError, ClusterProxyError, ShardProxyError, DatabaseError) as error:
            raise CommandError(f"no loss was accepted: {error}") from error
        self.stdout.write(f"losses recorded; the log goes on as {topology.log_id}, epoch {topology.epoch}")
