"""`manage.py drain_instance`: nobody reads from it, nothing waits for it."""

from configservice.draining import describe_drain, drain_instance
from configservice.draining_command import DrainingCommand


class Command(DrainingCommand):
    help = (
        "Take a replica out of reads, commits and promotion while it goes on replicating, before it is worked on or "
        "removed. A primary is refused: switch over first."
    )
    verb = "drain_instance"
    outcome = "{name} is drained, epoch {epoch}"
    describe = staticmethod(describe_drain)

    def change(self, name: str, *, actor: str, reason: str) -> int:
        return drain_instance(name, actor=actor, reason=reason).epoch
