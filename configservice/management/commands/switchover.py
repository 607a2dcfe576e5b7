"""`manage.py switchover`: promote a replica while the primary is healthy, without failing requests."""

from typing import TYPE_CHECKING, Any

from configservice.failover.command import FailoverCommand

if TYPE_CHECKING:
    from configservice.failover.records import Failover


class Command(FailoverCommand):
    help = "Promote a replica while the primary is healthy. Writes wait until it has caught up; the pause is printed."
    examples = (
        "manage.py switchover --shard shard1",
        'manage.py switchover --shard shard1 --to shard1b --reason "restart of shard1a" --yes',
    )
    verb = "switchover"
    warning = "Writes to the shard wait for a moment; reads and the intake of events go on."

    def send_request(self, **request: Any) -> "Failover":
        from configservice.failover.requests import request_switchover

        return request_switchover(**request)
