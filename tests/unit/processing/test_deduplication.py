from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.processing.builders import MemoryIds, Row, build_columns, uuid4_of
from viewcounter.processing.deduplication import MINUTES_AT_ONCE, deduplicate

# Few distinct ids, minutes and contents, so that every kind of collision is common.
rows = st.builds(
    Row,
    event=st.integers(0, 5),
    video=st.sampled_from("ab"),
    minute=st.integers(0, 2),
    type_id=st.integers(1, 2),
    value=st.integers(1, 2),
    viewer=st.sampled_from([0, 0, 1, -1]),
)


def deduplicate_by_hand(batches):
    """The rule, one event at a time: first sight of (minute, id) wins."""
    seen, verdicts = {}, []
    for batch in batches:
        verdict = []
        for row in batch:
            key, content = (row.minute, row.event), (row.video, row.minute, row.type_id, row.value, row.viewer)
            first = seen.setdefault(key, content)
            verdict.append("new" if first is content else "duplicate" if first == content else "conflict")
        verdicts.append(verdict)
    return verdicts


def deduplicate_in_batches(batches):
    known, verdicts = MemoryIds(), []
    for batch in batches:
        verdict = deduplicate(build_columns(batch), known)
        names = zip(verdict.new, verdict.duplicate, verdict.conflict, strict=True)
        verdicts.append([("new", "duplicate", "conflict")[flags.index(True)] for flags in names])
    return verdicts


@given(st.lists(st.lists(rows, min_size=1, max_size=12), min_size=1, max_size=6))
def test_verdicts_equal_the_rule_applied_event_by_event_however_the_log_is_cut(batches):
    batches = [[Row(*row) for row in batch] for batch in batches]
    assert deduplicate_in_batches(batches) == deduplicate_by_hand(batches)


def test_ids_that_share_their_first_half_are_told_apart():
    base = uuid4_of(1).int
    ids = [base, base + 1, base, base + 2, base + 1]
    columns = build_columns([Row(0, value=value) for value in range(5)])
    columns.event_ids[:] = [UUID(int=number).bytes for number in ids]
    verdict = deduplicate(columns, MemoryIds())
    assert verdict.new.tolist() == [True, True, False, True, False]
    assert verdict.first_contents.tolist() == columns.content_digests()[[0, 1, 0, 3, 1]].tolist()
    assert [i for block in verdict.id_blocks for i in block.ids.tolist()] == sorted({UUID(int=n).bytes for n in ids})


def test_ids_that_end_with_nul_bytes_are_told_apart():
    first, second = build_columns([Row(1 << 8)]), build_columns([Row(1 << 16)])
    known = MemoryIds()
    deduplicate(first, known)
    assert deduplicate(second, known).new.tolist() == [True]
    assert deduplicate(first, known).duplicate.tolist() == [True]


def test_id_blocks_are_sorted_and_hold_only_new_ids():
    verdict = deduplicate(build_columns([Row(3), Row(1), Row(3), Row(2)]), MemoryIds())
    assert [bytes(i) for i in verdict.id_blocks[0].ids] == [uuid4_of(n).bytes for n in (1, 2, 3)]


def test_each_event_is_told_the_content_that_came_first():
    known = MemoryIds()
    deduplicate(build_columns([Row(1, value=5)]), known)
    verdict = deduplicate(build_columns([Row(2, value=7), Row(1, value=6), Row(2, value=8)]), known)
    first = build_columns([Row(2, value=7), Row(1, value=5), Row(2, value=7)]).content_digests()
    assert verdict.conflict.tolist() == [False, True, True]
    assert verdict.first_contents.tolist() == first.tolist()


def test_a_batch_of_many_minutes_asks_for_a_bounded_number_at_once():
    known = MemoryIds()
    rows = [Row(number, minute=number) for number in range(3 * MINUTES_AT_ONCE + 5)]
    assert deduplicate(build_columns(rows), known).new.all()
    assert [len(asked) for asked in known.asked] == [MINUTES_AT_ONCE] * 3 + [5]
    assert deduplicate(build_columns(rows), known).duplicate.all()
