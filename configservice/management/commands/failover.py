"""`manage.py failover`: another primary now, whether or not this one answers."""

from configservice.failover.command import FailoverCommand
from configservice.failover.requests import request_failover


class Command(FailoverCommand):
    help = "Promote a replica now. The old primary is fenced if it answers. For a primary that is well: switchover."
    verb = "failover"
    warning = "Transactions under way on the old primary are cut; what it alone has is written again from the log."
    ask = staticmethod(request_failover)
