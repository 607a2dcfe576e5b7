"""The report of a run, as text and as JSON."""

from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from viewcounter_client.queries import TopItem

from devtools.replay.comparison import WrongCount

LISTED_MAX = 10
"""Maximum number of listed errors of a kind."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Rates are events accepted a second: until the last answer, and until every count could be read.

    sent: valid events, each once, however often it was sent.
    accepted: acknowledged events, including duplicates.
    duplicates_dropped: accepted but not counted, because they had been counted before.
    """

    nonce: str
    url: str
    videos: int
    channels: int
    days: int
    sent: int
    duplicates_sent: int
    accepted: int
    duplicates_dropped: int
    refused: dict[str, int]
    refused_count: int
    expected_refused_count: int
    retries: int
    compared_counts: int
    wrong_count: int
    wrong_counts: tuple[WrongCount, ...]
    wrongly_refused: tuple[str, ...]
    wrongly_accepted: tuple[str, ...]
    sending_seconds: float
    queryable_seconds: float
    total_seconds: float
    events_per_second_accepted: float
    events_per_second_queryable: float
    top: tuple[TopItem, ...]

    @property
    def is_exact(self) -> bool:
        """Whether every valid event is counted once and every invalid one refused."""
        return not (self.wrong_count or self.wrongly_refused or self.wrongly_accepted)


def encode_report(report: Report) -> str:
    document: dict[str, Any] = {"exact": report.is_exact} | msgspec.structs.asdict(report)
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def render_report(report: Report) -> RenderableType:
    """Tables for a terminal, plain text elsewhere."""
    parts: list[RenderableType] = [_render_figures(report), _render_top(report)]
    if report.wrong_counts:
        parts.append(_render_wrong_counts(report))
    for title, faults in (("Wrongly refused", report.wrongly_refused), ("Wrongly accepted", report.wrongly_accepted)):
        parts += [Text(f"{title}: {fault}", style="red") for fault in faults]
    verdict = "Every count is exact." if report.is_exact else "NOT exact: see above."
    return Group(*parts, Text(verdict, style="bold green" if report.is_exact else "bold red"))


def _render_figures(report: Report) -> Table:
    title = f"Replay of {report.days} days, {report.videos:,} videos, {report.channels:,} channels"
    table = Table(show_header=False, title=title)
    table.add_column()
    table.add_column(justify="right")
    refused = ", ".join(f"{count} {code}" for code, count in sorted(report.refused.items()))
    rows = {
        "events sent": f"{report.sent:,}",
        "accepted, duplicates included": f"{report.accepted:,}",
        "duplicates sent": f"{report.duplicates_sent:,}",
        "duplicates dropped": f"{report.duplicates_dropped:,}",
        "bad events refused": f"{report.refused_count:,} of {report.expected_refused_count:,}",
        "refused by code": refused or "none",
        "requests repeated": f"{report.retries:,}",
        "counts compared": f"{report.compared_counts:,}",
        "wrong counts": f"{report.wrong_count:,}",
        "seconds, sending": f"{report.sending_seconds:.1f}",
        "seconds, until queryable": f"{report.queryable_seconds:.1f}",
        "seconds, in all": f"{report.total_seconds:.1f}",
        "events/s accepted": f"{report.events_per_second_accepted:,.0f}",
        "events/s until queryable": f"{report.events_per_second_queryable:,.0f}",
        "nonce": report.nonce,
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table


def _render_top(report: Report) -> Table:
    table = Table("", "Views", "Video", "Title", title=f"Top {len(report.top)} by view")
    table.columns[1].justify = "right"
    for rank, video in enumerate(report.top, start=1):
        table.add_row(str(rank), f"{video.value:,.0f}", Text(video.video_id), Text(video.title or ""))
    return table


def _render_wrong_counts(report: Report) -> Table:
    table = Table("Video", "Event type", "Hour", "Expected", "Counted", title="Wrong counts, the first of them")
    for wrong in report.wrong_counts:
        hour = wrong.hour.isoformat() if wrong.hour else "all time"
        table.add_row(Text(wrong.video_id), wrong.event_type, hour, str(wrong.expected), str(wrong.actual))
    return table
