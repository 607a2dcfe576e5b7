from viewcounter.operations.bench.ingest_report import PostFigures, describe_ingest, find_capacity


def build_run(**changes):
    run = {
        "batch_events": 1,
        "connections": 64,
        "share": None,
        "events_per_second": 5000.0,
        "p50_ms": 9.0,
        "p99_ms": 20.0,
        "max_ms": 30.0,
        "cpu_seconds_per_million": {"gateway": 190.0, "log": 40.0, "load generator": 30.0},
        "generator_share": 0.2,
    }
    return PostFigures(**(run | changes))


RUNS = [
    build_run(connections=1, events_per_second=300.0),
    build_run(events_per_second=5000.0),
    build_run(events_per_second=9000.0),
    build_run(events_per_second=5100.0),
    build_run(batch_events=100, events_per_second=50_000.0, generator_share=0.4),
    build_run(share=0.8, connections=256, events_per_second=4000.0),
]


def test_the_capacity_is_the_middle_round_of_the_best_number_of_connections():
    assert find_capacity(RUNS, 1) == 5100.0
    assert find_capacity(RUNS, 100) == 50_000.0


def test_closed_and_open_runs_stand_in_tables_of_their_own_with_the_spread_of_their_rounds():
    part = describe_ingest("ingest", "title", RUNS, acknowledged=12, core=[0])
    closed, opened = part.tables
    assert [row[:3] for row in closed.rows] == [
        ("1", "1", "300"),
        ("1", "64", "5,100 (5,000..9,000)"),
        ("100", "64", "50,000"),
    ]
    assert [row[:3] for row in opened.rows] == [("1", "80%", "4,000")]
    assert "40% of the time at most" in " ".join(closed.notes)
    assert [series.points for series in part.plots[0].series] == [((1, 300.0), (64, 5100.0)), ((64, 50_000.0),)]
    assert part.figures["capacity_events_per_second"] == {"1": 5100.0, "100": 50_000.0}
    assert part.figures["acknowledged_events"] == 12
    assert len(part.figures["runs"]) == 6
