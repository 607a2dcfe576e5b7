"""`manage.py switchover`: another primary without a failed request."""

from typing import TYPE_CHECKING, Any

from configservice.failover.command import FailoverCommand

if TYPE_CHECKING:
    from configservice.failover.records import Failover


class Command(FailoverCommand):
    help = "Promote a replica while the primary is well. Writes are held until it has caught up; the pause is printed."
    examples = (
        "manage.py switchover --shard shard1",
        'manage.py switchover --shard shard1 --to shard1b --reason "restart of shard1a" --yes',
    )
    verb = "switchover"
    warning = "Writes wait for a moment; reads and posts go on."

    def send_request(self, **request: Any) -> "Failover":
        from configservice.failover.requests import request_switchover

        return request_switchover(**request)
