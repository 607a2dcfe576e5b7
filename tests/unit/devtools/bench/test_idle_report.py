"""The report of an idle cluster: sums of members, spread over rounds."""

from devtools.bench.idle_report import MEBIBYTE, MemberCost, describe_idle


def make_costs(web_cpu_seconds: float) -> dict[str, MemberCost]:
    return {
        "web": MemberCost(False, process_count=2, cpu_seconds_a_minute=web_cpu_seconds, pss_bytes=100 * MEBIBYTE),
        "worker": MemberCost(False, process_count=3, cpu_seconds_a_minute=2.0, pss_bytes=150 * MEBIBYTE),
        "log": MemberCost(True, process_count=1, cpu_seconds_a_minute=0.5, pss_bytes=3 * MEBIBYTE),
    }


def test_processes_of_ours_and_servers_are_added_up_apart():
    report = describe_idle("idle", "what it measures", [make_costs(1.0)], [5_000_000.0])
    [table] = report.tables
    assert table.rows == (
        ("web", "2", "1.00", "100"),
        ("worker", "3", "2.00", "150"),
        ("log", "1", "0.50", "3"),
        ("all of viewcounter", "5", "3.00", "250"),
        ("all servers", "1", "0.50", "3"),
        ("everything", "6", "3.50", "253"),
    )
    assert table.notes == ("Logged: 5.00 MB a day at this rate, by all of them together.",)
    assert report.bounded_by == ("Periodic work: 5.8% of a core, whatever the number of events.",)


def test_each_figure_is_reported_with_its_spread_over_the_rounds():
    report = describe_idle("idle", "what it measures", [make_costs(1.0), make_costs(2.0)], [4e6, 5e6])
    [table] = report.tables
    assert table.rows[0] == ("web", "2", "1.50 (1.00..2.00)", "100")
    assert table.rows[-1][2] == "4.00 (3.50..4.50)"
    assert [costs["web"]["cpu_seconds_a_minute"] for costs in report.figures["rounds"]] == [1.0, 2.0]
    assert report.figures["log_bytes_a_day"] == [4_000_000, 5_000_000]
