import pytest
from django.core.management import CommandError, call_command

from devtools.bench.ingest import FULL, QUICK, IngestChoices


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("drain", "--workers", "0"), "--workers: must be 1 or more"),
        (("drain", "--shards", "5", "--partitions", "4"), "--shards: 4 partitions are too few for 5 shards"),
        (("drain", "--seconds", "1"), "--seconds: only for ingest"),
        (("ingest", "--seconds", "0"), "--seconds: more than 0, at most 3600"),
        (("ingest", "--batches", "1,1001"), "--batches: 1 to 1000 events"),
        (
            ("ingest", "--batches", "1,1000", "--connections", "65"),
            "--connections: with any of them more than 64000 events would be in flight",
        ),
    ],
)
def test_the_command_refuses_it_before_it_starts_a_server(arguments, message):
    with pytest.raises(CommandError) as refusal:
        call_command("bench", *arguments)
    assert str(refusal.value) == message


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
