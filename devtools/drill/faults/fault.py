"""The protocol of a fault, and two faults at the same moment."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol


class Fault(Protocol):
    victim: str
    """The affected process or server; set by `strike`."""
    shard: str | None
    """The shard whose primary is affected, or None."""

    def strike(self) -> None:
        """Inject the fault. Raises NoVictim if its target does not run, LocalClusterError if it cannot be injected."""

    def heal(self) -> None:
        """Remove the fault and wait until the affected part is healthy. Raises NotReady if it does not become so."""


class CombinedFault:
    """Two faults at the same moment; `shard` is that of the first one."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = faults
        self.victim = ""
        self.shard: str | None = None

    def strike(self) -> None:
        with ThreadPoolExecutor(len(self._faults)) as pool:
            strikes = [pool.submit(fault.strike) for fault in self._faults]
        for strike in strikes:
            strike.result()
        self.victim = " and ".join(fault.victim for fault in self._faults)
        self.shard = next((fault.shard for fault in self._faults if fault.shard), None)

    def heal(self) -> None:
        for fault in self._faults:
            fault.heal()
