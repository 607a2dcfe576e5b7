"""`manage.py undrain_instance`: use a drained replica again."""

from configservice.join.draining_command import DrainingCommand


class Command(DrainingCommand):
    help = "Use a drained replica again. It must have caught up with its primary."
    verb = "undrain_instance"
    outcome = "{name} is used again, epoch {epoch}"

    def change(self, name: str, *, actor: str, reason: str) -> int:
        from configservice.join.dependencies import get_cluster_tools
        from configservice.join.draining import undrain_instance

        return undrain_instance(name, get_cluster_tools(), actor=actor, reason=reason).epoch
