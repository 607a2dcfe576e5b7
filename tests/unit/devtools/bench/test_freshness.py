import pytest

from devtools.bench.freshness import HistoryFreshness, Post, SeenPositions, find_visible_at, parse_posts
from devtools.bench.http_load import HttpAnswer
from viewcounter.eventlog.interface import Position


def build_history(*seen):
    history = HistoryFreshness()
    for at, ms in seen:
        history.add(Position(ms, 0), at)
    return history


@pytest.mark.parametrize(("ms", "at"), [(5, 1.0), (10, 1.0), (11, 2.0), (20, 2.0), (21, None)])
def test_a_position_is_seen_when_one_at_or_past_it_first_is(ms, at):
    history = build_history((1.0, 10), (1.5, 10), (2.0, 20))
    assert history.find_seen_at(Position(ms, 0)) == at


def test_a_post_is_visible_when_the_last_copy_of_its_last_partition_has_it():
    histories = {
        1: [build_history((1.0, 10)), build_history((1.2, 10))],
        2: [build_history((0.5, 10), (3.0, 20)), build_history((0.6, 10), (2.0, 20))],
    }
    assert find_visible_at(Post(0.0, 2, {1: Position(10, 0), 2: Position(10, 0)}), histories) == 1.2
    assert find_visible_at(Post(0.0, 2, {1: Position(10, 0), 2: Position(11, 0)}), histories) == 3.0


def test_it_is_not_while_one_copy_lacks_it():
    histories = {1: [build_history((1.0, 10)), build_history((1.0, 9))]}
    assert find_visible_at(Post(0.0, 1, {1: Position(10, 0)}), histories) is None


def test_positions_are_read_from_the_answers_of_the_gateway():
    body = b'{"request_id":"r","accepted":3,"rejected":0,"items":[],"positions":{"7":"12-1","9":"13-0"}}'
    assert parse_posts([HttpAnswer(4.5, body)]) == [Post(4.5, 3, {7: Position(12, 1), 9: Position(13, 0)})]


def test_a_flush_of_several_partitions_is_one_and_seen_on_any_copy():
    seen = SeenPositions()
    seen.add("shard1", "shard1a", [(1, "10-0", 700), (2, "20-0", 700)], 1.0)
    seen.add("shard1", "shard1b", [(1, "10-0", 700), (2, "20-0", 700)], 1.1)
    seen.add("shard2", "shard2a", [(3, "5-0", 700)], 1.2)
    seen.add("shard1", "shard1a", [(1, "11-0", 702), (2, "20-0", 700)], 1.3)
    assert seen.count_flushes(since=0.9, until=1.3) == 3
    assert seen.count_flushes(since=1.15, until=1.3) == 2


def test_a_row_that_was_written_without_moving_its_position_is_no_flush():
    seen = SeenPositions()
    seen.add("shard1", "shard1a", [(1, "10-0", 700)], 1.0)
    seen.add("shard1", "shard1a", [(1, "10-0", 701)], 1.1)
    assert seen.count_flushes(since=0.0, until=2.0) == 1
