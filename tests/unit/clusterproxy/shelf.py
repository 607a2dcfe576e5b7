"""A source of the topology whose content a test changes."""

from configservice.topology.model import Topology
from configservice.topology.published_snapshot import PublishedSnapshot, build_published_snapshot
from configservice.topology.signing import SigningKey


class Shelf:
    """A source that holds one snapshot, signed by these keys, or is down, and counts who asks."""

    def __init__(
        self,
        topology: Topology | None,
        *keys: SigningKey,
        down: bool = False,
        is_open: bool = False,
        place: str = "the shelf",
    ) -> None:
        self.topology = topology
        self.keys = keys
        self.down = down
        self.is_open = is_open
        self.place = place
        self.asked_count = 0

    def fetch(self, held: PublishedSnapshot | None) -> PublishedSnapshot | None:
        self.asked_count += 1
        if self.down:
            raise ConnectionError("down")
        found = None if self.topology is None else sign(self.topology, *self.keys)
        return None if found == held else found


def sign(topology: Topology, *keys: SigningKey) -> PublishedSnapshot:
    snapshot = build_published_snapshot(topology).snapshot
    return PublishedSnapshot(snapshot, {key.id: key.sign(snapshot) for key in keys})
