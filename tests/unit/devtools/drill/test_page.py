import re

from devtools.drill.attempts import Second
from devtools.drill.page import render_page
from devtools.drill.report import ClientReport, DrillReport, IncidentReport


def build_report(**changes):
    clients = ClientReport(answers={"202": 10, "503": 2}, p50_ms=4.0, p99_ms=20.0, worst_ms=25.0)
    seconds = [Second(n, 5, n % 2, 12.0 if n else None) for n in range(12)]
    report = {
        "seed": 7,
        "load_seconds": 11.0,
        "acknowledged": 1234,
        "duplicates_sent": 5,
        "refused": 0,
        "poison": 1,
        "posts": clients,
        "reads": clients,
        "incidents": [
            IncidentReport("kill-log", "log", 2.0, 4.5, None, 3, 0, ""),
            IncidentReport("kill-primary", "shard1a", 5.0, None, None, 0, 0, "NotReady: <shard1a>"),
        ],
        "violations": [],
        "post_seconds": seconds,
        "read_seconds": seconds,
    }
    return DrillReport(**(report | changes))


def test_the_page_needs_nothing_from_elsewhere():
    page = render_page(build_report())
    assert not re.search(r"(src|href|@import|url\()", page)
    assert "https://" not in page and "http://" not in page


def test_texts_from_outside_are_escaped():
    page = render_page(build_report(violations=["lost <script>alert(1)</script>"]))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;shard1a&gt;" in page


def test_the_verdict_stands_at_the_top():
    assert "The guarantee held</span>" in render_page(build_report())
    assert "The guarantee did not hold</span>" in render_page(build_report(violations=["1 event lost"]))


def test_figures_of_a_fault_that_is_repeated_are_median_and_worst():
    incidents = [
        IncidentReport("kill-primary", "shard1a", 1.0, 2.0, seconds, 0, 0, "") for seconds in (0.5, 0.9, 0.7, None)
    ]
    [summary] = build_report(incidents=incidents).summarize()
    assert (summary.kind, summary.count) == ("kill-primary", 3)
    assert (summary.median_written_again_seconds, summary.worst_written_again_seconds) == (0.7, 0.9)
