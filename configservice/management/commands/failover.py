"""`manage.py failover`: promote a replica now, whether or not the primary answers."""

from typing import TYPE_CHECKING, Any

from configservice.failover.command import FailoverCommand

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from configservice.failover.records import Failover


class Command(FailoverCommand):
    help = (
        "Promote a replica now, whether or not the primary answers. A primary that answers is fenced. If the primary "
        "is healthy, use switchover instead."
    )
    examples = (
        "manage.py failover --shard shard1",
        "manage.py failover --shard shard1 --to shard1-b --accept-loss",
    )
    verb = "failover"
    warning = "Open transactions on the old primary are ended; commits that only it has are applied from the log again."

    def add_arguments(self, parser: "ArgumentParser") -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--accept-loss",
            dest="accepts_loss",
            action="store_true",
            help="with --to: accept a replica that lacks entries which the event log no longer holds, if there is no "
            "other. Its partitions that lack entries stop until `manage.py accept_log_loss` is run",
        )

    def send_request(self, **request: Any) -> "Failover":
        from configservice.failover.requests import request_failover

        return request_failover(**request)
