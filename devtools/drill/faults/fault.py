"""The shape of a fault, and two of them at the same moment."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol


class Fault(Protocol):
    victim: str
    """What was hurt; known once it has struck."""
    shard: str | None
    """The shard whose primary was hurt, if one was."""

    def strike(self) -> None:
        """Raises NoVictim when there is nothing to hurt, LocalClusterError when it cannot be hurt."""

    def heal(self) -> None:
        """Returns when everything is whole again. Raises NotReady when it does not become so."""


class Together:
    """Both at the same moment; the first one names the shard."""

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
