from devtools.bench.bare import BareRun
from devtools.bench.pipeline_report import Sustained, describe_pipeline

CPU = {"gateway": 8.0, "workers": 4.0, "primaries": 3.0, "replicas": 1.0, "load generator": 0.5}


def build_sustained(share, *, flush_count=100):
    return Sustained(
        share=share,
        offered_per_second=40_000.0,
        accepted_per_second=40_000.0,
        queryable_per_second=39_000.0,
        post_p99_ms=20.0,
        freshness_p50_seconds=0.3,
        freshness_p99_seconds=0.8,
        freshness_max_seconds=0.9,
        event_count=400_000,
        flush_count=flush_count,
        flushes_per_second=10.0,
        cpu_seconds_per_million=CPU,
        generator_share=0.1,
    )


def describe():
    bare = BareRun(60_000.0, 500_000, {"primaries": 6.0, "replicas": 2.0, "client": 4.0})
    return describe_pipeline(
        "pipeline",
        "",
        [80_000.0, 90_000.0, 100_000.0],
        [build_sustained(0.5), build_sustained(1.0, flush_count=80)],
        bare=bare,
        acknowledged=1_000_000,
        seconds=60.0,
    )


def test_capacity_is_compared_with_bare_psycopg():
    report = describe()
    assert report.figures["ratio_to_bare_psycopg"] == 1.5
    assert report.tables[0].notes[-1] == (
        "Bare psycopg, one connection a shard, 1,000 events at once: 60,000 events/s for 12.00 CPU s a million; "
        "the capacity is 1.50 times that."
    )


def test_cpu_is_summed_of_the_parts_that_flush_and_of_all():
    assert describe().tables[1].rows[-2:] == (
        ("workers + primaries + replicas", "8.00", "8.00"),
        ("all", "16.50", "16.50"),
    )


def test_events_a_flush_are_those_of_one_transaction():
    assert [row[-2:] for row in describe().tables[0].rows] == [("4,000", "10.0"), ("5,000", "10.0")]
