"""`manage.py add_shard`: add a shard to the running cluster."""

from configservice.join.command import AddCommand, Steps
from configservice.topology.model import Role


class Command(AddCommand):
    help = (
        "Add an empty shard to the running cluster. Inspects the empty database of its primary, creates the tables, "
        "then publishes the shard. No process restarts and no partition moves: for that use `manage.py rebalance`. Add "
        "its replicas with `add_replica`. Safe to repeat after a failure."
    )
    examples = (
        "manage.py add_shard --shard shard3 --instance shard3a --host 10.0.0.31 --check-only",
        "manage.py rebalance --dry-run",
    )
    verb = "add_shard"
    role = Role.PRIMARY
    question = "Create viewcounter's tables on {name} and add it as the primary of {shard}?"

    def get_steps(self) -> Steps:
        from configservice.join.changes import add_shard, check_new_shard

        return Steps(check=check_new_shard, add=add_shard)
