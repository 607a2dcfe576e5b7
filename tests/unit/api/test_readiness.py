"""When a gateway without its log may go on: as long as its spool has room."""

from pathlib import Path

import pytest

from viewcounter.health.readiness import build_spool_parts, check_spool
from viewcounter.ingest.spool import measure_slots


def fill(spool: Path, *sizes: int) -> Path:
    for number, size in enumerate(sizes):
        slot = spool / f"slot-{number:03d}"
        slot.mkdir(parents=True)
        (slot / "0000000001.spool").write_bytes(b"x" * size)
        (slot / "lock").write_bytes(b"not counted")
    return spool


@pytest.mark.parametrize(
    ("sizes", "status"),
    [((), "up"), ((0,), "up"), ((99,), "up"), ((100,), "down"), ((100, 5), "degraded"), ((120, 100), "down")],
)
def test_a_spool_is_down_when_every_slot_is_full(tmp_path, sizes, status):
    state = measure_slots(fill(tmp_path / "spool", *sizes))
    assert (check_spool(state, max_bytes=100).status, build_spool_parts(state)) == (status, {})


def test_what_of_a_spool_cannot_be_delivered_is_named(tmp_path):
    spool = fill(tmp_path / "spool", 0, 0)
    for name in (
        "slot-000/000000000007.damaged",
        "slot-001/p12-000000000000.refused",
        "slot-001/p3-000000000000.refused",
    ):
        (spool / name).write_bytes(b"x")
    [(name, part)] = build_spool_parts(measure_slots(spool)).items()
    assert (name, part.status) == ("spooled events", "degraded")
    assert part.reason == "the log refuses events of partitions 3, 12; 1 damaged files are set aside"
