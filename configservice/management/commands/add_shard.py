"""`manage.py add_shard`: one more shard, beside everything that runs."""

from configservice.adding.changes import add_shard, check_new_shard
from configservice.adding.command import AddCommand
from configservice.topology import Role


class Command(AddCommand):
    help = (
        "Add a shard: look at the empty database of its primary, make the tables there, then publish it. Nothing is "
        "restarted and no partition moves: that is `manage.py rebalance`. Add its replicas with `add_replica`. Safe to "
        "repeat after a failure."
    )
    verb = "add_shard"
    role = Role.PRIMARY
    question = "Make our tables on {name} and add it as the primary of {shard}?"
    check_candidate = staticmethod(check_new_shard)
    add = staticmethod(add_shard)
