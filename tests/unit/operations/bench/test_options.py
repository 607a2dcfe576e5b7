import pytest
from django.core.management import CommandError, call_command

from viewcounter.operations.bench.catalogue import choose_parts, list_parts
from viewcounter.operations.bench.drain import DrainBenchOptions
from viewcounter.operations.bench.errors import BadOption

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
        (("reads", "--no-floor"), "--no-floor: only the part drain has it"),
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
    parts = list_parts(DrainBenchOptions(**GOOD))
    names = [part.name for part in parts]
    assert choose_parts(parts, []) == parts
    assert [part.name for part in choose_parts(parts, list(reversed(names[:2])))] == names[:2]
