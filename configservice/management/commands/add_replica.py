"""`manage.py add_replica`: add a replica to a shard of the running cluster."""

from configservice.join.command import AddCommand, Steps
from configservice.topology.model import Role


class Command(AddCommand):
    help = (
        "Add a replica of a shard, which serves reads and may be promoted. Make it by pg_basebackup; it must stream "
        "from the shard's primary under its name (application_name in primary_conninfo). No process restarts."
    )
    examples = ("manage.py add_replica --shard shard1 --instance shard1c --host 10.0.0.13 --check-only",)
    verb = "add_replica"
    role = Role.REPLICA
    question = "Add {name} to {shard}? It serves reads, commits may wait for it, and it may be promoted."

    def get_steps(self) -> Steps:
        from configservice.join.changes import add_replica, check_new_replica

        return Steps(check=check_new_replica, add=add_replica)
