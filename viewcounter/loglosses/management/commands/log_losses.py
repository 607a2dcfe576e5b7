"""`manage.py log_losses`: list what the event log has lost, and close losses."""

import getpass
import json
from dataclasses import asdict
from itertools import islice
from typing import Any

from django.core.management.base import CommandError, CommandParser

from commandline.command import OperatorCommand, Subject
from runtime.prompts import confirm


class Command(OperatorCommand):
    subject = Subject.DATA
    help = (
        "List what the event log has lost, and close losses. A loss is a range of a partition's log whose acknowledged "
        "events may not have been counted; it is open until an operator has looked at it. Closing one says that its "
        "events are lost for good: it no longer shows in answers and in the status; positions in it stay lost."
    )
    examples = (
        "manage.py log_losses list --open",
        'manage.py log_losses close 7-3 --reason "senders have sent the hour again"',
        'manage.py log_losses close --all --reason "the disk of host7 died"',
    )

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", help="action")
        listing = actions.add_parser("list", help="list losses, newest first")
        listing.add_argument("--partition", type=int, metavar="N", help="only of this partition")
        listing.add_argument("--open", action="store_true", help="only losses that nobody has closed")
        listing.add_argument("--limit", type=int, default=100, metavar="N", help="at most N (default: 100)")
        listing.add_argument("--json", action="store_true", help="print JSON, one object a line")
        closing = actions.add_parser("close", help="close losses: their events are lost for good")
        closing.add_argument("ids", nargs="*", metavar="ID", help="{partition}-{row}, as `log_losses list` shows it")
        closing.add_argument("--all", action="store_true", help="every open loss")
        closing.add_argument("--reason", required=True, metavar="TEXT", help="stored with the loss")
        closing.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    def handle(self, **options: Any) -> None:
        from clusterproxy.errors import ClusterProxyError
        from shardproxy.errors import ShardProxyError
        from viewcounter.cluster import get_cluster
        from viewcounter.loglosses.errors import LossesUnconfirmed

        try:
            if options["action"] == "list":
                self._list(get_cluster(), options)
            else:
                self._close(get_cluster(), options)
        except (LossesUnconfirmed, ClusterProxyError, ShardProxyError) as error:
            raise CommandError(f"not all shards answered: {error}") from error

    def _list(self, cluster: Any, options: dict[str, Any]) -> None:
        from viewcounter.loglosses.losses import iterate_losses

        partition, count = options["partition"], 0
        if partition is not None and not 0 <= partition < cluster.topology.partition_count:
            raise CommandError(f"no such partition: valid are 0 to {cluster.topology.partition_count - 1}")
        losses = iterate_losses(cluster, only_open=options["open"], partition=partition)
        for loss in islice(losses, options["limit"]):
            count += 1
            if options["json"]:
                self.stdout.write(json.dumps({"key": str(loss.key), **asdict(loss)}, default=str))
                continue
            state = f"{loss.outcome} by {loss.closed_by}: {loss.close_reason}" if loss.outcome else "open"
            self.stdout.write(
                f"{loss.key} partition {loss.partition} past {loss.after_position} up to {loss.through_position}, "
                f"{loss.reason}, found {loss.found_at:%Y-%m-%d %H:%M:%S %Z}: {state}"
                + (f" ({loss.detail})" if loss.detail else "")
            )
        self.stderr.write(f"{count} losses")

    def _close(self, cluster: Any, options: dict[str, Any]) -> None:
        from viewcounter.loglosses.losses import accept_losses, iterate_losses
        from viewcounter.storage.log_losses import LossKey

        if bool(options["ids"]) == options["all"]:
            raise CommandError("give either the ids of losses or --all")
        try:
            keys = [LossKey.parse(text) for text in options["ids"]]
        except ValueError as error:
            raise CommandError(f"not the id of a loss, as `log_losses list` shows it: {error}") from error
        if options["all"]:
            keys = [loss.key for loss in iterate_losses(cluster, only_open=True)]
        if not keys:
            self.stdout.write("no loss is open")
            return
        if not options["yes"]:
            confirm(f"The events of {len(keys)} losses are lost for good. Close them?")
        actor = f"{getpass.getuser()} (manage.py log_losses)"
        closed = accept_losses(cluster, keys, actor=actor, reason=options["reason"])
        self.stdout.write(f"{len(closed)} losses closed")
        if missing := sorted(set(keys) - closed):
            raise CommandError(f"not open, or unknown: {', '.join(map(str, missing))}")
