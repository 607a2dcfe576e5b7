"""`manage.py failover`: another primary now, whether or not this one answers."""

from typing import TYPE_CHECKING, Any

from configservice.failover.command import FailoverCommand

if TYPE_CHECKING:
    from configservice.failover.records import Failover


class Command(FailoverCommand):
    help = (
        "Promote a replica now, whether or not the primary answers. It is fenced if it does. For a primary that is "
        "well: switchover."
    )
    examples = ("manage.py failover --shard shard1",)
    verb = "failover"
    warning = "Transactions under way on the old primary are cut; what it alone has is written again from the log."

    def ask(self, **request: Any) -> "Failover":
        from configservice.failover.requests import request_failover

        return request_failover(**request)
