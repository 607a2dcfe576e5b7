"""A kind of fault as the registry lists it, and the errors that clients may see while it is in force."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from devtools.drill.context import FaultContext
from devtools.drill.faults.fault import Fault
from devtools.drill.outcomes import NO_ANSWER
from devtools.drill.plan import Kind
from devtools.drill.verdict import ExpectedErrors

MakeFault = Callable[[FaultContext, Random], Fault]

FULL_INSTANCE = "shard2a"
SHARD_PROXIES = "shards"
"""Stands for the names of all instances."""
AWAKE = (1.0, 3.0)
ASLEEP = (5.0, 9.0)
FAILED_OVER = (35.0, 35.0)
"""Longer than Patroni waits for a leader that stands still."""
ZOMBIE = (8.0, 15.0)
"""Longer than the lease of a pull process: others do its work before it wakes."""
LONG = (30.0, 30.0)
DELAY_SECONDS = 0.05
LOSS_SHARE = 0.05

NOTHING = ExpectedErrors()
GATEWAY_GONE = ExpectedErrors(posts=NO_ANSWER | {"503"}, reads=NO_ANSWER | {"503"})
GATEWAY_ASLEEP = ExpectedErrors(posts=GATEWAY_GONE.posts, reads=GATEWAY_GONE.reads | {"504"})
"""504: it wakes with reads whose deadline has passed meanwhile."""
LOG_AWAY = ExpectedErrors(posts=frozenset({"503", "207"}))
"""503 with Retry-After; 207 when only some partitions could be appended to."""
SHARD_ASLEEP = ExpectedErrors(reads=frozenset({"503", "504", "partial", "stale"}))
WRONG_CLOCK = ExpectedErrors(posts=frozenset({"422", "207"}))


@dataclass(frozen=True, slots=True)
class DrillFault:
    """A kind of fault. `proxies`: servers that need a TCP proxy in front. `disk`: server that needs a small disk.
    `of_patroni`: for a control database under Patroni only. `may_lose`: acknowledged events may be lost, each in a
    reported range. `steps_clock`: needs a library that steps a clock."""

    kind: Kind
    what: str
    expected_errors: ExpectedErrors
    make: MakeFault
    proxies: frozenset[str] = frozenset()
    disk: str = ""
    of_patroni: bool = False
    may_lose: bool = False
    steps_clock: bool = False
