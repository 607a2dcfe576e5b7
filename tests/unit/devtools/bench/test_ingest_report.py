from devtools.bench.ingest_report import PostFigures, find_capacity


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
