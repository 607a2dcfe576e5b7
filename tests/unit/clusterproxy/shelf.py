"""A source of the topology whose content a test changes."""

from configservice.topology import Topology


class Shelf:
    """A source that holds one snapshot, or is down, and counts who asks."""

    def __init__(self, topology: Topology | None, *, down: bool = False) -> None:
        self.topology = topology
        self.down = down
        self.asked_count = 0

    def fetch(self, known_epoch: int) -> Topology | None:
        self.asked_count += 1
        if self.down:
            raise ConnectionError("down")
        if self.topology is None or self.topology.epoch == known_epoch:
            return None
        return self.topology
