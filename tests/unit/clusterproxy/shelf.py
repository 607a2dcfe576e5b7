"""A source of the topology whose content a test changes."""

from configservice.published_snapshot import PublishedSnapshot, build_published_snapshot
from configservice.topology import Topology


class Shelf:
    """A source that holds one snapshot, or is down, and counts who asks."""

    place = "the shelf"

    def __init__(self, topology: Topology | None, *, down: bool = False) -> None:
        self.topology = topology
        self.down = down
        self.asked_count = 0

    def fetch(self, held: PublishedSnapshot | None) -> PublishedSnapshot | None:
        self.asked_count += 1
        if self.down:
            raise ConnectionError("down")
        found = None if self.topology is None else build_published_snapshot(self.topology)
        return None if found == held else found
