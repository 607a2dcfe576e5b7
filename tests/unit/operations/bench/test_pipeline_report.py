from viewcounter.operations.bench.pipeline_report import Sustained, describe_pipeline


def build_sustained(share, **changes):
    sustained = {
        "share": share,
        "offered_per_second": 40_000.0 * share,
        "accepted_per_second": 40_000.0 * share,
        "queryable_per_second": 39_000.0 * share,
        "post_p99_ms": 12.4,
        "freshness_p50_seconds": 0.512,
        "freshness_p99_seconds": 1.2,
        "freshness_max_seconds": 1.5,
        "event_count": 120_000,
        "flush_count": 100,
        "cpu_seconds_per_million": {"gateway": 10.0, "workers": 12.5, "load generator": 2.0},
        "generator_share": 0.1,
    }
    return Sustained(**(sustained | changes))


def test_each_share_is_told_with_its_freshness_and_what_it_cost_by_component():
    sustained = [build_sustained(0.5), build_sustained(1.0, freshness_max_seconds=3.25)]
    part = describe_pipeline("pipeline", "title", [39_000.0, 41_000.0, 40_000.0], sustained, acknowledged=7, seconds=6)
    rates, cpu = part.tables
    assert rates.rows == (
        ("50%", "20,000", "19,500", "12", "0.51", "1.20", "1.50", "1,200"),
        ("100%", "40,000", "39,000", "12", "0.51", "1.20", "3.25", "1,200"),
    )
    assert "40,000 (39,000..41,000) events/s" in rates.notes[0]
    assert cpu.rows == (
        ("gateway", "10.00", "10.00"),
        ("workers", "12.50", "12.50"),
        ("load generator", "2.00", "2.00"),
        ("all", "24.50", "24.50"),
    )
    assert [series.name for series in part.plots[0].series] == ["p50", "p99", "max"]
    assert part.plots[0].series[2].points == ((20_000.0, 1.5), (40_000.0, 3.25))
    assert part.figures["acknowledged_events"] == 7
    assert "24.5 s a million events" in part.bounded_by[0]
    assert "the work of 1.0 cores" in part.bounded_by[0]
