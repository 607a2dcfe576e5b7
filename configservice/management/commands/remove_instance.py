"""`manage.py remove_instance`: the cluster forgets it."""

from configservice.draining import describe_removal, remove_instance
from configservice.draining_command import DrainingCommand


class Command(DrainingCommand):
    help = "Take a drained replica out of the cluster. The server itself is left as it is."
    verb = "remove_instance"
    outcome = "{name} is removed, epoch {epoch}"
    describe = staticmethod(describe_removal)

    def change(self, name: str, *, actor: str, reason: str) -> int:
        return remove_instance(name, actor=actor, reason=reason).epoch
