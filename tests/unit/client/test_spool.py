"""Events on disk: whole parts, in order, bounded, for one client."""

import pytest
from viewcounter_client import Options, SpoolInUse
from viewcounter_client.events import make_event
from viewcounter_client.spool import Spool, SpoolFull


def make_events(count):
    return [make_event("view", video_id=f"video-{number}") for number in range(count)]


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path, max_bytes=10_000)
    yield spool
    spool.close()


def test_what_was_appended_is_read_by_the_next_client_oldest_first(tmp_path):
    first, second = make_events(3), make_events(2)
    earlier = Spool(tmp_path, max_bytes=10_000)
    earlier.append(first)
    earlier.append(second)
    earlier.close()
    spool = Spool(tmp_path, max_bytes=10_000)
    assert spool.count_events() == 5
    assert spool.read_oldest() == (first, 0)
    spool.replace_oldest([])
    assert spool.read_oldest() == (second, 0)
    spool.close()


def test_what_is_left_of_a_part_stays_oldest(spool):
    first, second = make_events(3), make_events(2)
    spool.append(first)
    spool.append(second)
    spool.replace_oldest(first[1:])
    assert spool.read_oldest() == (first[1:], 0)
    assert spool.count_events() == 4


def test_a_directory_belongs_to_one_client(spool, tmp_path):
    with pytest.raises(SpoolInUse):
        Spool(tmp_path, max_bytes=10_000)


def test_a_full_spool_refuses_and_takes_again_when_something_has_left(spool):
    events = make_events(30)
    spool.append(events)
    with pytest.raises(SpoolFull):
        spool.append(make_events(60))
    spool.replace_oldest([])
    spool.append(make_events(60))
    assert spool.count_events() == 60


def test_a_part_that_a_crash_left_unfinished_is_no_part(tmp_path):
    (tmp_path / "00000000000000000001-000001.part").write_bytes(b'{"event_id":')
    spool = Spool(tmp_path, max_bytes=10_000)
    assert spool.count_events() == 0
    spool.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock"]


def test_damaged_lines_are_counted_and_do_not_hide_the_others(spool, tmp_path):
    events = make_events(2)
    spool.append(events)
    (part,) = tmp_path.glob("*.ndjson")
    part.write_bytes(part.read_bytes() + b'\xff\x00{\n[1]\n{"event_id": 5}\n')
    assert spool.read_oldest() == (events, 3)


@pytest.mark.parametrize(
    ("option", "value"), [("max_batch_events", 0), ("linger_seconds", -1.0), ("close_seconds", 0.0)]
)
def test_options_that_make_no_sense_are_refused_by_name(option, value):
    with pytest.raises(ValueError, match=option):
        Options(**{option: value})


def test_a_batch_larger_than_the_buffer_is_refused():
    with pytest.raises(ValueError, match="max_batch_events must not be more than max_buffer_events"):
        Options(max_buffer_events=10)
