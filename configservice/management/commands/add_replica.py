"""`manage.py add_replica`: one more replica of a shard, beside everything that runs."""

from configservice.adding.changes import add_replica, check_new_replica
from configservice.adding.command import AddCommand
from configservice.topology import Role


class Command(AddCommand):
    help = (
        "Add a replica that was made by pg_basebackup and streams from the shard's primary under its name "
        "(application_name in primary_conninfo). Nothing is restarted."
    )
    verb = "add_replica"
    role = Role.REPLICA
    question = "Add {name} to {shard}: reads go to it, commits may wait for it, it may be promoted?"
    check_candidate = staticmethod(check_new_replica)
    add = staticmethod(add_replica)
