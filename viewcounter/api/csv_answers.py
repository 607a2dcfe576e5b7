"""Statistics as CSV (RFC 4180), for spreadsheets.

A spreadsheet executes a cell that begins like a formula, and the senders of events choose their ids: such text gets an
apostrophe in front, as OWASP advises.
"""
# ruff: noqa: ARG002 (the arguments are the framework's)

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rest_framework.renderers import BaseRenderer

CSV_TYPE = "text/csv"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class StatsCsvRenderer(BaseRenderer):
    """One row for the period, or one for each bucket of the series. The fields of `meta` are in HTTP headers."""

    media_type = CSV_TYPE
    format = "csv"
    charset = "utf-8"

    def render(
        self, data: Mapping[str, Any], accepted_media_type: str | None = None, renderer_context: Any = None
    ) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text)
        for row in make_rows(data):
            writer.writerow([_show(cell) for cell in row])
        return text.getvalue().encode()


def make_rows(data: Mapping[str, Any]) -> Iterator[list[Any]]:
    """The names of the columns, then the rows."""
    owner = "channel_id" if "channel_id" in data else "video_id"
    names = [owner, "event_type", "function"]
    common = [data[name] for name in names]
    previous = data.get("previous")
    if "series" in data:
        yield [*names, *(["period"] if previous else []), "start", "value"]
        for period, part in (("current", data), ("previous", previous)):
            for bucket in part["series"] if part else ():
                yield [*common, *([period] if previous else []), bucket["start"], bucket["value"]]
    else:
        differences = [previous["value"], data["delta"], data["ratio"]] if previous else []
        compared = ["previous_value", "delta", "ratio"] if previous else []
        yield [*names, "start_time", "end_time", "value", *compared]
        yield [*common, data["start_time"], data["end_time"], data["value"], *differences]


def _show(cell: Any) -> Any:
    match cell:
        case datetime():
            return cell.isoformat().replace("+00:00", "Z")
        case str() if cell.startswith(_FORMULA_STARTS):
            return f"'{cell}"
    return cell
