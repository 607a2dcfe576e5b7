"""`manage.py add_replica`: one more replica of a shard, beside everything that runs."""

from configservice.join.command import AddCommand, Steps
from configservice.topology.model import Role


class Command(AddCommand):
    help = (
        "Add a replica of a shard, which serves reads and may be promoted. It was made by pg_basebackup and streams "
        "from the shard's primary under its name (application_name in primary_conninfo). Nothing is restarted."
    )
    examples = ("manage.py add_replica --shard shard1 --instance shard1c --host 10.0.0.13 --check-only",)
    verb = "add_replica"
    role = Role.REPLICA
    question = "Add {name} to {shard}: reads go to it, commits may wait for it, it may be promoted?"

    def get_steps(self) -> Steps:
        from configservice.join.changes import add_replica, check_new_replica

        return Steps(check=check_new_replica, add=add_replica)
