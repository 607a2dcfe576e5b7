"""Several beats run, one of them sends: the one that holds a lease in the broker.

The broker is the right place: a beat that does not reach it could send nothing anyway. The lease saves work and
guarantees nothing, since the broker may lose it; tasks that are sent twice do no harm.
"""

from collections.abc import Callable
from typing import Any, Protocol
from uuid import uuid4

KEY = "viewcounter:beat"

_HOLD = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class BrokerClient(Protocol):
    """A client of the broker, Valkey or Redis."""

    def eval(self, script: str, numkeys: int, *keys_and_args: str) -> Any: ...


class BeatLease:
    """The lease as one beat sees it. `get_client` may raise what the broker's driver raises, and so may both methods.

    A beat that renews it more often than every `seconds` keeps it.
    """

    def __init__(self, get_client: Callable[[], BrokerClient], *, seconds: float) -> None:
        self._get_client = get_client
        self._milliseconds = str(int(seconds * 1000))
        self._holder = uuid4().hex

    def hold(self) -> bool:
        """Take or renew the lease. False while another beat has it."""
        return bool(self._get_client().eval(_HOLD, 1, KEY, self._holder, self._milliseconds))

    def release(self) -> None:
        """At an orderly stop: another beat may take it at once."""
        self._get_client().eval(_RELEASE, 1, KEY, self._holder)
