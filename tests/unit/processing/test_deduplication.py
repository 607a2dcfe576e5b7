from hypothesis import given
from hypothesis import strategies as st

from tests.unit.processing.builders import Row, build_columns, uuid4_of
from viewcounter.processing.deduplication import BYTES_PER_ID, NONE_KNOWN, IdCache, KnownIds, judge_batch, merge_known

# Few distinct ids, minutes and contents, so that every kind of collision is common.
rows = st.builds(
    Row,
    event=st.integers(0, 5),
    video=st.sampled_from("ab"),
    minute=st.integers(0, 2),
    type_id=st.integers(1, 2),
    value=st.integers(1, 2),
)


def judge_by_hand(batches):
    """The rule, one event at a time: first sight of (minute, id) wins."""
    seen, verdicts = {}, []
    for batch in batches:
        verdict = []
        for row in batch:
            key, content = (row.minute, row.event), (row.video, row.minute, row.type_id, row.value)
            first = seen.setdefault(key, content)
            verdict.append("new" if first is content else "duplicate" if first == content else "conflict")
        verdicts.append(verdict)
    return verdicts


def judge_in_batches(batches):
    known, verdicts = {}, []
    for batch in batches:
        columns = build_columns(batch)
        held = {minute: known.get(minute, NONE_KNOWN) for minute in set(columns.id_minutes().tolist())}
        verdict = judge_batch(columns, held)
        known |= merge_known(held, verdict.id_blocks)
        names = zip(verdict.new, verdict.duplicate, verdict.conflict, strict=True)
        verdicts.append([("new", "duplicate", "conflict")[flags.index(True)] for flags in names])
    return verdicts


@given(st.lists(st.lists(rows, min_size=1, max_size=12), min_size=1, max_size=6))
def test_verdicts_equal_the_rule_applied_event_by_event_however_the_log_is_cut(batches):
    batches = [[Row(*row) for row in batch] for batch in batches]
    assert judge_in_batches(batches) == judge_by_hand(batches)


def test_ids_that_end_with_nul_bytes_are_told_apart():
    first, second = build_columns([Row(1 << 8)]), build_columns([Row(1 << 16)])
    known = judge_batch(first, {0: NONE_KNOWN}).id_blocks[0]
    assert judge_batch(second, {0: KnownIds(known.ids, known.contents)}).new.tolist() == [True]
    assert judge_batch(first, {0: KnownIds(known.ids, known.contents)}).duplicate.tolist() == [True]


def test_id_blocks_are_sorted_and_hold_only_new_ids():
    verdict = judge_batch(build_columns([Row(3), Row(1), Row(3), Row(2)]), {0: NONE_KNOWN})
    assert [bytes(i) for i in verdict.id_blocks[0].ids] == [uuid4_of(n).bytes for n in (1, 2, 3)]


def known_of(*events):
    block = judge_batch(build_columns([Row(event) for event in events]), {0: NONE_KNOWN}).id_blocks[0]
    return KnownIds(block.ids, block.contents)


def test_cache_loads_a_minute_once_and_forgets_the_partition_when_its_position_changed():
    cache, asked = IdCache(max_bytes=10_000), []

    def load(minutes):
        asked.append(set(minutes))
        return {minute: known_of(minute + 1) for minute in minutes}

    assert set(cache.get_minutes(7, [1, 2], position="1-0", load=load)) == {1, 2}
    cache.get_minutes(7, [2, 3], position="1-0", load=load)
    cache.get_minutes(7, [2], position="2-0", load=load)
    assert asked == [{1, 2}, {3}, {2}]
    assert cache.size_bytes == BYTES_PER_ID


def test_cache_drops_the_least_recently_used_minute_when_full():
    cache, asked = IdCache(max_bytes=2 * BYTES_PER_ID), []

    def load(minutes):
        asked.append(set(minutes))
        return {minute: known_of(minute + 1) for minute in minutes}

    for minute in (1, 2, 1, 3):
        known = cache.get_minutes(7, [minute], position="1-0", load=load)
        cache.advance(7, position="1-0", known=known)
    assert cache.size_bytes == 2 * BYTES_PER_ID
    cache.get_minutes(7, [1, 2], position="1-0", load=load)
    assert asked == [{1}, {2}, {3}, {2}]
