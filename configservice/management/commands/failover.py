"""`manage.py failover`: another primary now, whether or not this one answers."""

from typing import TYPE_CHECKING, Any

from configservice.failover.command import FailoverCommand

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from configservice.failover.records import Failover


class Command(FailoverCommand):
    help = (
        "Promote a replica now, whether or not the primary answers. It is fenced if it does. For a primary that is "
        "well: switchover."
    )
    examples = (
        "manage.py failover --shard shard1",
        "manage.py failover --shard shard1 --to shard1-b --accept-loss",
    )
    verb = "failover"
    warning = "Transactions under way on the old primary are cut; what it alone has is written again from the log."

    def add_arguments(self, parser: "ArgumentParser") -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--accept-loss",
            dest="accepts_loss",
            action="store_true",
            help="with --to: also a replica that lacks entries which the event log no longer holds, for when nobody "
            "else is left. Its partitions that lack some stop until `manage.py accept_log_loss` was run",
        )

    def send_request(self, **request: Any) -> "Failover":
        from configservice.failover.requests import request_failover

        return request_failover(**request)
