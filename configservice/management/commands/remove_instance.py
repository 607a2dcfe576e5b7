"""`manage.py remove_instance`: remove a drained replica from the cluster."""

from configservice.join.draining_command import DrainingCommand
from configservice.topology.model import Instance, Shard


class Command(DrainingCommand):
    help = "Remove a drained replica from the cluster. The server itself is not changed."
    verb = "remove_instance"
    outcome = "{name} is removed, epoch {epoch}"

    def describe(self, shard: Shard, instance: Instance) -> str:
        from configservice.join.draining import describe_removal

        return describe_removal(shard, instance)

    def change(self, name: str, *, actor: str, reason: str) -> int:
        from configservice.join.draining import remove_instance

        return remove_instance(name, actor=actor, reason=reason).epoch
