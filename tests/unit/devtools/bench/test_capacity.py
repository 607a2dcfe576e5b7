import pytest

from devtools.bench.capacity import Assumptions, Bytes, Costs, Drained, find_costs, plan_capacity

BYTES = Bytes(
    log_memory=50.0,
    log_file=55.0,
    raw=100.0,
    ids=25.0,
    wal=250.0,
    minute_row=170.0,
    minute_rows_an_event=0.2,
    total_row=160.0,
)


def build_drained(shards=2, workers=2, workers_cpu=1.0, primaries_cpu=2.0):
    cpu = {"primaries": primaries_cpu, "replicas": 0.5, "log": 0.1, "broker and cache": 0.0, "workers": workers_cpu}
    return Drained(shards, workers, 500_000.0, 31_250.0, cpu)


PIPELINE = {
    "sustained": [
        {
            "share": share,
            "event_count": 1_000_000,
            "flush_count": 1_000,
            "cpu_seconds_per_million": {"workers": 11.0, "primaries": 7.0, "replicas": 0.25},
        }
        for share in (1.0, 0.5)
    ]
}
INGEST = {
    "runs": [
        {"batch_events": 1, "cpu_seconds_per_million": {"gateway": 150.0, "log": 30.0}},
        {"batch_events": 100, "cpu_seconds_per_million": {"gateway": 8.0, "log": 1.0}},
        {"batch_events": 100, "cpu_seconds_per_million": {"gateway": 10.0, "log": 2.0}},
        {"batch_events": 100, "cpu_seconds_per_million": {"gateway": 12.0, "log": 3.0}},
    ]
}


def test_an_event_costs_what_drains_spent_in_the_middle():
    costs = find_costs([build_drained(workers_cpu=c) for c in (1.0, 1.5, 4.0)], BYTES, earlier={})
    assert costs.events == {"log": 0.1, "workers": 1.5, "primaries": 2.0, "replicas": 0.5}
    assert costs.flush == {}


def test_a_flush_costs_what_the_pipeline_spent_beyond_its_events():
    costs = find_costs([build_drained()], BYTES, earlier={"pipeline": PIPELINE})
    assert costs.flush == pytest.approx({"workers": 0.010, "primaries": 0.005, "replicas": 0.0})


def test_the_gateway_is_planned_by_batches_of_a_hundred_and_the_log_by_both_its_ends():
    costs = find_costs([build_drained()], BYTES, earlier={"ingest": INGEST})
    assert costs.events["gateway"] == 10.0
    assert costs.events["log"] == pytest.approx(2.1)


COSTS = Costs(
    events={"log": 2.0, "workers": 1.0, "primaries": 3.0, "gateway": 10.0},
    flush={"workers": 0.010, "primaries": 0.005},
    bytes=BYTES,
)


def test_cores_are_those_of_events_and_of_flushes_at_the_assumed_share():
    needs = plan_capacity(COSTS, 1_000_000, Assumptions(busy_share=0.5, flush_seconds=0.5))
    # Three processes on one shard: three flushes every half second.
    assert (needs.shards, needs.pull_processes) == (1, 3)
    assert needs.cores == pytest.approx(
        {"log": 4.0, "workers": (1 + 6 * 0.010) / 0.5, "primaries": (3 + 6 * 0.005) / 0.5, "gateway": 20.0}
    )


def test_shards_and_pull_processes_each_get_four_partitions_or_more():
    needs = plan_capacity(COSTS, 20_000_000, Assumptions(busy_share=0.5, flush_seconds=0.5))
    assert needs.pull_processes == 43
    assert needs.shards == 16
    assert needs.partitions == 256


def test_rarer_flushes_cost_less():
    often = plan_capacity(COSTS, 100_000, Assumptions(flush_seconds=0.5))
    rarely = plan_capacity(COSTS, 100_000, Assumptions(flush_seconds=4))
    assert rarely.cores["workers"] < often.cores["workers"]


def test_memory_disk_and_network_grow_with_the_events():
    needs = plan_capacity(COSTS, 100_000, Assumptions(outage_minutes=30))
    assert needs.log_memory_bytes == 100_000 * 1800 * 50
    assert needs.raw_bytes_a_day == 100_000 * 86_400 * 100
    assert needs.id_bytes_a_day == 100_000 * 86_400 * 25
    assert needs.wal_bytes_per_second == 25_000_000
    assert needs.client_bytes_per_second == 15_000_000


def test_a_small_rate_needs_one_shard_and_one_pull_process():
    needs = plan_capacity(COSTS, 10)
    assert (needs.partitions, needs.shards, needs.pull_processes) == (32, 1, 1)
