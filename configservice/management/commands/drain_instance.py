"""`manage.py drain_instance`: take a replica out of use."""

from configservice.join.draining_command import DrainingCommand
from configservice.topology.model import Instance, Shard


class Command(DrainingCommand):
    help = (
        "Take a replica out of reads, commits and promotion. For maintenance, or before its removal; it goes on "
        "replicating. A primary is refused: switch over first."
    )
    examples = ('manage.py drain_instance shard1b --reason "new disk"', "manage.py undrain_instance shard1b")
    verb = "drain_instance"
    outcome = "{name} is drained, epoch {epoch}"

    def describe(self, shard: Shard, instance: Instance) -> str:
        from configservice.join.draining import describe_drain

        return describe_drain(shard, instance)

    def change(self, name: str, *, actor: str, reason: str) -> int:
        from configservice.join.draining import drain_instance

        return drain_instance(name, actor=actor, reason=reason).epoch
