import pytest
from django.core.management import CommandError, call_command

from viewcounter.operations.bench.catalogue import choose_parts, list_parts
from viewcounter.operations.bench.drain import DrainBenchOptions
from viewcounter.operations.bench.errors import BadOption
from viewcounter.operations.bench.ingest import FULL, QUICK, IngestChoices

GOOD = {
    "event_count": 1,
    "workers": 1,
    "shards": 1,
    "replicas_per_shard": 0,
    "partitions": 1,
    "with_floor": True,
}


def test_the_smallest_run_is_allowed():
    DrainBenchOptions(**GOOD).check()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"event_count": 0}, "--events: must be 1 or more"),
        ({"workers": 0}, "--workers: must be 1 or more"),
        ({"workers": -1}, "--workers: must be 1 or more"),
        ({"shards": 0}, "--shards: 1 to 64"),
        ({"shards": 65, "partitions": 65}, "--shards: 1 to 64"),
        ({"replicas_per_shard": -1}, "--replicas: 0 to 8"),
        ({"replicas_per_shard": 9}, "--replicas: 0 to 8"),
        ({"partitions": 0}, "--partitions: 1 to 32767"),
        ({"partitions": 2**15}, "--partitions: 1 to 32767"),
        ({"shards": 3, "partitions": 2}, "--shards: 2 partitions are too few for 3 shards"),
    ],
)
def test_an_option_that_leaves_nothing_to_measure_is_refused_by_name(changed, message):
    with pytest.raises(BadOption) as refusal:
        DrainBenchOptions(**GOOD | changed).check()
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("drain", "--workers", "0"), "--workers: must be 1 or more"),
        (("drain", "--events", "0"), "--events: must be 1 or more"),
        (("drain", "--shards", "5", "--partitions", "4"), "--shards: 4 partitions are too few for 5 shards"),
        (("drain", "--rounds", "0"), "--rounds: must be 1 or more"),
        (("drain", "--seconds", "1"), "--seconds: only for ingest"),
        (("scale", "--shards", "1"), "--shards: only for ingest, pipeline, drain, peers, abuse"),
        (("ingest", "--seconds", "0"), "--seconds: more than 0, at most 3600"),
        (("ingest", "--batches", "1,1001"), "--batches: 1 to 1000 events"),
        (("ingest", "--connections", "0"), "--connections: 1 to 1024"),
        (
            ("ingest", "--batches", "1,1000", "--connections", "65"),
            "--connections: with any of them more than 64000 events would be under way",
        ),
        (("read", "--no-floor"), "--no-floor: only for drain"),
    ],
)
def test_the_command_refuses_it_before_it_starts_a_server(arguments, message):
    with pytest.raises(CommandError) as refusal:
        call_command("bench", *arguments)
    assert str(refusal.value) == message


def test_a_part_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(CommandError, match=r"^there is no part 'drian'; there are .*drain"):
        call_command("bench", "drian")


def test_parts_run_in_their_own_order_and_all_if_none_is_named():
    parts = list_parts(DrainBenchOptions(**GOOD), FULL)
    names = [part.name for part in parts]
    assert choose_parts(parts, []) == parts
    assert [part.name for part in choose_parts(parts, list(reversed(names[:2])))] == names[:2]


def test_batches_and_connections_that_would_fill_the_gateways_buffer_are_left_out():
    assert (1000, 64) in FULL.list_closed()
    assert (1000, 256) not in FULL.list_closed()
    assert len(FULL.list_closed()) == 15


def test_what_is_asked_of_ingest_replaces_the_plan_also_for_open_loops():
    plan = IngestChoices(batches=(10,), connections=(4, 8), seconds=0.5).change(QUICK)
    assert plan.list_closed() == [(10, 4), (10, 8)]
    assert plan.open_batches == (10,)
    assert (plan.closed_seconds, plan.open_seconds, plan.warm_seconds) == (0.5, 0.5, QUICK.warm_seconds)
    assert IngestChoices().change(FULL) == FULL
