"""What links of entries say about entries that are not there."""

from hypothesis import given
from hypothesis import strategies as st

from viewcounter.eventlog.codec import EntryLink
from viewcounter.eventlog.interface import START, Position
from viewcounter.processing.producers import MAX_PRODUCERS, Producers
from viewcounter.storage.log_sessions import LossReason

BEGIN = Producers(START)


def at(seq):
    return Position(1, seq)


def step(position, producer, after=None):
    return at(position), EntryLink(producer, START if after is None else at(after))


def find_lost(producers, *steps):
    return [(loss.after, loss.through) for loss in producers.take(steps)[1]]


def test_entries_that_name_entries_that_were_read_miss_none():
    assert find_lost(BEGIN, step(1, 7), step(2, 8), step(3, 7, 1), step(4, 8, 2), step(5, 7, 3)) == []


def test_a_link_past_the_last_entry_of_its_process_reports_the_range():
    assert find_lost(BEGIN, step(1, 7), step(2, 8), step(4, 7, 3)) == [("1-1", "1-3")]


def test_the_loss_says_which_process_misses_its_entry():
    [loss] = BEGIN.take([step(1, 7), step(4, 7, 3)])[1]
    assert loss.reason is LossReason.MISSING
    assert loss.detail == "process 0000000000000007 has an acknowledged entry at 1-3, which the log does not have"


def test_a_lost_first_entry_of_a_process_is_reported_by_its_second():
    assert find_lost(BEGIN, step(1, 7), step(3, 8, 2)) == [("0-0", "1-2")]


def test_an_entry_whose_answer_was_lost_is_no_gap():
    """Its process sent it again, or went on without it: the link names only what was acknowledged."""
    assert find_lost(BEGIN, step(1, 7), step(2, 7, 1), step(3, 7, 1), step(5, 7, 3)) == []


def test_nothing_is_missed_from_before_what_is_known():
    producers = Producers(at(9))
    assert find_lost(producers, step(10, 7, 8)) == []
    assert find_lost(producers, step(12, 7, 11)) == [("1-9", "1-11")]


def test_after_an_entry_that_cannot_be_read_nothing_of_before_is_missed():
    assert find_lost(BEGIN, step(1, 7), (at(2), None), step(3, 7, 2), step(5, 7, 4)) == [("1-3", "1-4")]


def test_a_row_that_was_moved_without_its_producers_knows_none():
    packed = Producers(at(1), {7: at(4)}).pack(at=at(5))
    assert Producers.unpack(packed, at=at(5)) == Producers(at(1), {7: at(4)})
    assert Producers.unpack(packed, at=at(6)) == Producers(at(6))
    assert Producers.unpack(b"", at=at(6)) == Producers(at(6))


def test_the_number_of_kept_processes_is_bounded_and_none_is_missed_wrongly():
    count = MAX_PRODUCERS + 9
    producers, lost = BEGIN.take([step(number, number) for number in range(1, count + 1)])
    assert lost == []
    assert (len(producers.last), producers.since) == (MAX_PRODUCERS, at(9))
    assert find_lost(producers, *(step(count + number, number, number) for number in range(1, count + 1))) == []


@st.composite
def histories(draw):
    """Entries as processes append them: (position, link), whether it was acknowledged; some answers are lost."""
    last: dict[int, Position] = {}
    steps = []
    for seq in range(1, draw(st.integers(1, 30)) + 1):
        producer = draw(st.integers(1, 3))
        steps.append((at(seq), EntryLink(producer, last.get(producer, START))))
        is_acknowledged = draw(st.booleans())
        if is_acknowledged:
            last[producer] = at(seq)
    return steps


@given(history=histories(), data=st.data())
def test_each_lost_entry_that_a_later_one_names_is_in_a_range(history, data):
    assert BEGIN.take(history)[1] == []
    lost = data.draw(st.sets(st.sampled_from([position for position, _ in history])))
    kept = [one for one in history if one[0] not in lost]
    cut = data.draw(st.integers(0, len(kept)))
    # read in two flushes, with the row in between
    first, found = BEGIN.take(kept[:cut])
    end = kept[cut - 1][0] if cut else START
    _, more = Producers.unpack(first.pack(at=end), at=end).take(kept[cut:])
    ranges = [(Position.parse(loss.after), Position.parse(loss.through)) for loss in found + more]
    for position in {link.after for _, link in kept} & lost:
        assert any(after < position <= through for after, through in ranges)
    for _, through in ranges:
        assert through in lost
