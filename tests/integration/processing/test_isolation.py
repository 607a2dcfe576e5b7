"""Events that a shard refuses stand alone as dead letters, the others count; or the partition stops."""

import logging
import random

import pytest

from runtime.metrics import REGISTRY
from tests.integration.processing.poisoned import (
    NOW_US,
    PARTITION,
    append,
    event,
    make_drainer,
    poison,
    query,
    read_ledger,
    read_letters,
    read_state,
    read_total,
)
from tests.unit.processing.builders import uuid4_of
from viewcounter.deadletters.stopped import list_stopped, measure_dead_letters, resume
from viewcounter.eventlog.codec import pack_entry, unpack_entry
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.processing import isolation
from viewcounter.processing.errors import PartitionNotOwned, PartitionStopped
from viewcounter.storage import flush_content
from viewcounter.storage.dead_letter_limits import StopReason
from viewcounter.storage.settings import DeadLetterLimits

LONG_VIDEO = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=6000))
"""More than an index row takes, and not to be compressed."""

TABLES = ("raw_event", "event_ids", "event_minute", "event_total", "ledger", "dead_letter", "video", "rollup_dirty")


@pytest.fixture
def log():
    return MemoryEventLog()


def read_content(cluster):
    counts = [query(cluster, f"SELECT count(*) FROM {table}")[0]["count"] for table in TABLES]  # noqa: S608
    return dict(zip(TABLES, counts, strict=True))


def count_trials(monkeypatch):
    tried = []
    real = isolation.try_batch

    def spy(connection, batch, **options):
        tried.append(len(batch.counted))
        return real(connection, batch, **options)

    monkeypatch.setattr(isolation, "try_batch", spy)
    return tried


def test_one_bad_event_among_forty_thousand_becomes_a_dead_letter(clean_cluster, log, monkeypatch):
    events = [event(number, f"video{number % 500}") for number in range(40_000)]
    events[20_123] = poison(20_123)
    for start in range(0, 40_000, 1000):
        end = append(log, *events[start : start + 1000])
    tried = count_trials(monkeypatch)
    report = make_drainer(clean_cluster, log).drain([PARTITION])
    assert (report.counted, report.dead_letter_count, report.positions) == (39_999, 1, {PARTITION: end})
    assert len(tried) <= isolation.PROBES + 2 * 16 + 1
    assert read_ledger(clean_cluster) == (40_000, 39_999, 0, 0, 1)
    assert query(clean_cluster, "SELECT sum(count)::int AS n FROM event_total")[0]["n"] == 39_999
    assert query(clean_cluster, "SELECT count(*)::int AS n FROM raw_event")[0]["n"] == 39_999
    assert query(clean_cluster, "SELECT sum(octet_length(ids)) / 16 AS n FROM event_ids")[0]["n"] == 39_999
    [letter] = read_letters(clean_cluster)
    assert letter["event_id"] == uuid4_of(20_123)
    assert (letter["reason"], letter["sqlstate"], letter["position"]) == ("refused_by_shard", "22021", end)
    assert (letter["video_id"], letter["attempts"], letter["state"]) == ("b\N{REPLACEMENT CHARACTER}d20123", 1, "new")
    assert unpack_entry(bytes(letter["payload"])).videos == ("b\0d20123",)


def test_several_bad_events_of_different_kinds_are_found_together(clean_cluster, log):
    huge = 2**63 - 1000
    append(log, *(event(number) for number in range(100)), poison(200), event(201, LONG_VIDEO))
    append(log, event(202, "full", value=huge), event(203, "full", value=2000), event(204, type_id=99))
    report = make_drainer(clean_cluster, log).drain([PARTITION])
    assert report.counted == 101
    found = {letter["event_id"]: (letter["reason"], letter["sqlstate"]) for letter in read_letters(clean_cluster)}
    assert found == {
        uuid4_of(200): ("refused_by_shard", "22021"),
        uuid4_of(201): ("refused_by_shard", "54000"),
        uuid4_of(203): ("refused_by_shard", "22003"),
        uuid4_of(204): ("unknown_event_type", None),
    }
    assert read_ledger(clean_cluster) == (105, 101, 0, 0, 4)
    assert read_total(clean_cluster, "full") == (1, huge)


def test_an_event_that_lifts_a_sum_past_64_bits_is_dead_and_the_sum_stays(clean_cluster, log):
    append(log, event(1, value=2**63 - 5000))
    drainer = make_drainer(clean_cluster, log)
    drainer.drain([PARTITION])
    append(log, event(2, value=4000), event(3, value=2000), event(4, value=500))
    drainer.drain([PARTITION])
    assert read_total(clean_cluster) == (3, 2**63 - 500)
    assert [letter["event_id"] for letter in read_letters(clean_cluster)] == [uuid4_of(3)]


def test_the_id_of_a_dead_letter_is_not_known_so_that_its_repair_counts(clean_cluster, log):
    append(log, event(1), poison(2))
    drainer = make_drainer(clean_cluster, log)
    drainer.drain([PARTITION])
    append(log, event(2), event(1))
    report = drainer.drain([PARTITION])
    assert (report.counted, report.duplicate) == (1, 1)
    assert read_total(clean_cluster) == (2, 2000)


def test_nothing_stays_of_trials_when_the_process_dies_before_the_flush(clean_cluster, log, monkeypatch):
    append(log, *(event(number) for number in range(50)), poison(99))
    before = read_content(clean_cluster), read_rows_state(clean_cluster)
    drainer = make_drainer(clean_cluster, log)

    def die(*_, **__):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(isolation.logger, "warning", die)  # the last thing before the trials are rolled back
        with pytest.raises(RuntimeError):
            drainer.drain([PARTITION])
    assert (read_content(clean_cluster), read_rows_state(clean_cluster)) == before
    make_drainer(clean_cluster, log).drain([PARTITION])
    assert read_ledger(clean_cluster) == (51, 50, 0, 0, 1)


def read_rows_state(cluster):
    """Without the session of the log, which a drain enters before it reads."""
    return read_state(cluster) | {"log_term": None, "log_session": None}


def test_the_same_event_refused_again_is_the_same_row(clean_cluster, log):
    drainer = make_drainer(clean_cluster, log)
    for _ in range(3):
        append(log, event(1), event(5, type_id=99), event(5, type_id=99))
        drainer.drain([PARTITION])
    [letter] = read_letters(clean_cluster)
    assert letter["attempts"] == 6
    assert read_ledger(clean_cluster) == (9, 1, 2, 0, 6)


def test_a_run_of_dead_letters_stops_the_partition_with_nothing_written(clean_cluster, log, caplog):
    append(log, event(1))
    drainer = make_drainer(clean_cluster, log)
    drainer.drain([PARTITION])
    before = read_content(clean_cluster)
    position = read_state(clean_cluster)["position"]
    append(log, *(event(number, type_id=99) for number in range(10, 31)))
    with caplog.at_level(logging.ERROR), pytest.raises(PartitionStopped):
        drainer.drain([PARTITION])
    state = read_state(clean_cluster)
    assert (state["state"], state["stop_reason"], state["position"]) == ("stopped", StopReason.RUN, position)
    assert read_content(clean_cluster) == before
    assert [record.levelname for record in caplog.records if "has stopped" in record.message] == ["ERROR"]
    with pytest.raises(PartitionNotOwned):
        drainer.drain([PARTITION])


def test_a_run_is_counted_over_flushes_and_by_whichever_worker(clean_cluster, log):
    for number in range(20):
        append(log, event(number, type_id=99))
        make_drainer(clean_cluster, log).drain([PARTITION])
    append(log, event(50, type_id=99))
    with pytest.raises(PartitionStopped):
        make_drainer(clean_cluster, log).drain([PARTITION])
    assert len(read_letters(clean_cluster)) == 20


def test_too_large_a_part_of_the_window_stops_the_partition(clean_cluster, log):
    mixed = [event(number, type_id=99 if number % 8 == 0 else 1) for number in range(200)]
    append(log, *mixed)
    with pytest.raises(PartitionStopped):
        make_drainer(clean_cluster, log).drain([PARTITION])
    assert read_state(clean_cluster)["stop_reason"] == StopReason.RATIO
    assert read_letters(clean_cluster) == []


def test_a_fault_that_is_in_no_event_stops_the_partition_after_a_few_trials(clean_cluster, log, monkeypatch):
    old = NOW_US - 4000 * 86_400 * 1_000_000  # no day partition of raw_event takes this moment of receipt
    log.append({PARTITION: pack_entry([event(n) for n in range(5000)], received_us=old)})
    tried = count_trials(monkeypatch)
    with pytest.raises(PartitionStopped):
        make_drainer(clean_cluster, log).drain([PARTITION])
    assert tried == [1] * isolation.PROBES
    assert read_state(clean_cluster)["stop_reason"] == StopReason.ALL_REFUSED
    assert read_letters(clean_cluster) == []


def test_a_broken_schema_stops_the_partition_and_buries_nothing(clean_cluster, log, monkeypatch):
    append(log, *(event(number) for number in range(100)))
    tried = count_trials(monkeypatch)

    def read_what_is_not_there(connection, batch):
        connection.execute("SELECT * FROM a_table_that_a_release_forgot")

    with monkeypatch.context() as patch:
        patch.setattr(flush_content, "STEPS", [*flush_content.STEPS, read_what_is_not_there])
        with pytest.raises(PartitionStopped):
            make_drainer(clean_cluster, log).drain([PARTITION])
    assert len(tried) == 1
    assert read_state(clean_cluster)["stop_reason"] == StopReason.REFUSED
    assert resume(clean_cluster, PARTITION, actor="op")
    make_drainer(clean_cluster, log).drain([PARTITION])
    assert read_total(clean_cluster) == (100, 100_000)


@pytest.mark.parametrize("bounds", [{"max_trials": 15}, {"max_seconds": 0.0}])
def test_a_search_past_its_bounds_stops_the_partition(clean_cluster, log, bounds):
    append(log, *(event(number) for number in range(1000)), poison(5000), poison(5001), event(1, "c"))
    with pytest.raises(PartitionStopped):
        make_drainer(clean_cluster, log, **bounds).drain([PARTITION])
    assert read_state(clean_cluster)["stop_reason"] == StopReason.UNBOUNDED
    assert read_letters(clean_cluster) == []


def test_a_resumed_partition_writes_as_many_dead_letters_as_were_accepted(clean_cluster, log):
    append(log, *(event(number, type_id=99) for number in range(30)), event(100))
    with pytest.raises(PartitionStopped):
        make_drainer(clean_cluster, log).drain([PARTITION])
    assert resume(clean_cluster, PARTITION, actor="op", accept_dead_letters=29)
    with pytest.raises(PartitionStopped):
        make_drainer(clean_cluster, log).drain([PARTITION])
    assert resume(clean_cluster, PARTITION, actor="op", accept_dead_letters=32)
    make_drainer(clean_cluster, log).drain([PARTITION])
    assert read_ledger(clean_cluster) == (31, 1, 0, 0, 30)
    state = read_state(clean_cluster)
    assert (state["dead_letter_allowance"], state["resumed_by"], state["state"]) == (2, "op", "owned")
    assert (state["window_dead"], state["dead_run"]) == (0, 0)
    assert not resume(clean_cluster, PARTITION, actor="op")


def test_bad_events_within_the_accepted_number_are_isolated_though_past_the_ratio(clean_cluster, log):
    append(log, *(event(number, f"v{number % 9}") for number in range(100)), *(poison(1000 + n) for n in range(30)))
    limits = DeadLetterLimits(run_max=100, ratio_max=0.1, ratio_min_events=100, window_seconds=3600.0)
    with pytest.raises(PartitionStopped):
        make_drainer(clean_cluster, log, limits=limits).drain([PARTITION])
    assert read_state(clean_cluster)["stop_reason"] == StopReason.RATIO
    resume(clean_cluster, PARTITION, actor="op", accept_dead_letters=30)
    make_drainer(clean_cluster, log, limits=limits).drain([PARTITION])
    assert read_ledger(clean_cluster) == (130, 100, 0, 0, 30)


def test_unreadable_entries_stay_whole_and_count_against_the_limits(clean_cluster, log):
    log.append({PARTITION: b"no entry"})
    append(log, event(1))
    drainer = make_drainer(clean_cluster, log)
    drainer.drain([PARTITION])
    [letter] = read_letters(clean_cluster)
    assert (letter["reason"], letter["event_id"], bytes(letter["payload"])) == ("unreadable_entry", None, b"no entry")
    assert read_ledger(clean_cluster) == (1, 1, 0, 0, 0)
    for number in range(21):
        log.append({PARTITION: b"damage %d" % number})
    with pytest.raises(PartitionStopped):
        drainer.drain([PARTITION])
    assert len(read_letters(clean_cluster)) == 1


def test_a_conflict_that_cannot_be_stored_as_it_is_holds_nothing_up(clean_cluster, log):
    append(log, event(1), poison(2))
    drainer = make_drainer(clean_cluster, log)
    drainer.drain([PARTITION])
    append(log, poison(1), event(3))
    report = drainer.drain([PARTITION])
    assert (report.counted, report.conflict) == (1, 1)


def test_metrics_and_the_list_name_stopped_partitions_and_waiting_letters(clean_cluster, log):
    append(log, event(1, type_id=99), event(2))
    make_drainer(clean_cluster, log).drain([PARTITION])
    append(log, *(event(number, type_id=99) for number in range(10, 50)))
    with pytest.raises(PartitionStopped):
        make_drainer(clean_cluster, log).drain([PARTITION])
    measure_dead_letters(clean_cluster)
    assert read_metric("dead_letters", partition=str(PARTITION)) == 1
    assert read_metric("dead_letters", partition="4") == 0
    assert read_metric("stopped_partitions", reason=StopReason.RUN.value) == 1
    assert [(one.partition, one.reason) for one in list_stopped(clean_cluster)] == [(PARTITION, StopReason.RUN)]
    resume(clean_cluster, PARTITION, actor="op")
    measure_dead_letters(clean_cluster)
    assert read_metric("stopped_partitions", reason=StopReason.RUN.value) == 0


def read_metric(name, **labels):
    return REGISTRY.get_sample_value(f"viewcounter_{name}", labels)
