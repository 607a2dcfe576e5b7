import json
import re
from datetime import UTC, datetime

import pytest

from devtools.bench.page import render_page
from devtools.bench.report import BenchReport, Machine, PartReport, Plot, ReportTable, Series, Spread

MACHINE = Machine(2, "Some CPU <x>", 8 * 1024**3, "Linux 6.1", "3.11.2", "postgres (PostgreSQL) 18.1", "Valkey 9")


def build_report():
    table = ReportTable(
        "Posts & more", ("connections", "events/s"), (("1", "1,200"), ("64", "59,000 (1..2)")), ("a <note>",)
    )
    part = PartReport(
        name="ingest",
        title="from post to 202",
        tables=(table,),
        plots=(Plot("rates", "connections", "events/s", (Series("batch 1", ((1, 1200), (64, 59000))),), x_log=True),),
        bounded_by=("the gateway's one core",),
        figures={"events_per_second": 59000.0, "by_batch": {"1": [1, 2]}},
        seconds=12.3,
    )
    options = {"parts": ["ingest"], "quick": True, "rounds": 1}
    return BenchReport(datetime(2026, 1, 2, 3, 4, tzinfo=UTC), MACHINE, options, (part,))


@pytest.mark.parametrize(
    ("values", "text"),
    [([3], "3"), ([3, 1, 2], "2 (1..3)"), ([1000, 3000], "2,000 (1,000..3,000)"), ([2.1, 2.2], "2")],
)
def test_a_spread_is_the_median_with_its_ends_where_they_differ(values, text):
    assert Spread.of(values).describe() == text


def test_a_row_that_does_not_fit_its_table_is_refused():
    with pytest.raises(ValueError, match="2 columns, but a row of 1"):
        ReportTable("t", ("a", "b"), (("1",),))


def test_json_holds_figures_tables_machine_and_options():
    decoded = json.loads(json.dumps(build_report().encode()))
    [part] = decoded["parts"]
    assert decoded["measured_at"] == "2026-01-02T03:04:00+00:00"
    assert decoded["machine"]["cores"] == 2
    assert decoded["options"] == {"parts": ["ingest"], "quick": True, "rounds": 1}
    assert part["figures"] == {"events_per_second": 59000.0, "by_batch": {"1": [1, 2]}}
    assert part["tables"][0]["rows"][0] == ["1", "1,200"]
    assert part["seconds"] == 12.3
    assert "plots" not in part


def test_the_page_needs_nothing_from_elsewhere_and_escapes_texts():
    page = render_page(build_report())
    assert not re.search(r"(src|href|@import|url\(|<script)", page)
    assert "https://" not in page and "http://" not in page
    assert "<x>" not in page and "<note>" not in page
    assert "Posts &amp; more" in page
