"""When a gateway without its log may go on: as long as its spool has room."""

from pathlib import Path

import pytest

from viewcounter.api.readiness import check_spool


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
    assert check_spool(fill(tmp_path / "spool", *sizes), max_bytes=100).status == status
