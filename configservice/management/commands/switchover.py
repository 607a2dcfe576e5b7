"""`manage.py switchover`: another primary without a failed request."""

from configservice.failover.command import FailoverCommand
from configservice.failover.requests import request_switchover


class Command(FailoverCommand):
    help = "Promote a replica while the primary is well: writes are held until it has caught up. Prints the pause."
    verb = "switchover"
    warning = "Writes wait for a moment; reads and posts go on."
    ask = staticmethod(request_switchover)
