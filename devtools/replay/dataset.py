"""The sample as typed, validated rows. Its columns are described in `sample/README.md`."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import xxhash

from devtools.replay.errors import BadDataset
from viewcounter.config.project import PROJECT_ROOT

SAMPLE_PATH = PROJECT_ROOT / "sample" / "youtube_trending_us_2017.csv.gz"
COUNT_COLUMNS = ("views", "likes", "dislikes", "comments")
_TEXT_COLUMNS = ("video_id", "title", "channel_title")


@dataclass(frozen=True, slots=True)
class DailyRow:
    """One video on one day. `counts` are cumulative, in the order of COUNT_COLUMNS."""

    video_id: str
    title: str
    channel_title: str
    day: date
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SampleChannel:
    channel_id: str
    title: str


@dataclass(frozen=True, slots=True)
class SampleVideo:
    video_id: str
    channel_id: str
    title: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows ascend by (day, video_id). A video may have been observed twice on a day."""

    rows: tuple[DailyRow, ...]

    def days(self) -> tuple[date, ...]:
        """Days with rows, ascending."""
        return tuple(sorted({row.day for row in self.rows}))

    @property
    def day_span(self) -> int:
        """Calendar days from the first row to the last, both included."""
        days = self.days()
        return (days[-1] - days[0]).days + 1

    def limit_days(self, count: int) -> "Dataset":
        """The first `count` days only, so that every video still grows from zero."""
        kept = frozenset(self.days()[:count])
        return Dataset(rows=tuple(row for row in self.rows if row.day in kept))

    def videos(self) -> tuple[SampleVideo, ...]:
        """Each video once, ascending by id, with the title and channel of its last day."""
        last = {row.video_id: row for row in self.rows}
        return tuple(
            SampleVideo(video_id, get_channel_id(last[video_id].channel_title), last[video_id].title)
            for video_id in sorted(last)
        )

    def channels(self) -> tuple[SampleChannel, ...]:
        """Each channel once, ascending by title."""
        titles = sorted({row.channel_title for row in self.rows})
        return tuple(SampleChannel(get_channel_id(title), title) for title in titles)


def get_channel_id(channel_title: str) -> str:
    """Derives an id from the title, since the sample has none; equal on every machine."""
    return f"ch_{xxhash.xxh3_64_hexdigest(channel_title.encode())}"


def read_dataset(path: Path = SAMPLE_PATH) -> Dataset:
    """Raises BadDataset, naming the line, for an incomplete or inconsistent sample."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = sorted(_read_rows(csv.DictReader(file, strict=True)), key=lambda row: (row.day, row.video_id))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise BadDataset(f"{path}: {error}") from error
    if not rows:
        raise BadDataset(f"{path}: no rows")
    return Dataset(rows=tuple(rows))


def _read_rows(lines: "csv.DictReader[str]") -> Iterator[DailyRow]:
    for line in lines:
        try:
            yield _parse_row(line)
        except (KeyError, TypeError, ValueError) as error:
            raise BadDataset(f"line {lines.line_num}: {error}") from error


def _parse_row(line: dict[str, str]) -> DailyRow:
    video_id, title, channel_title = (line[name] for name in _TEXT_COLUMNS)
    if not (video_id and channel_title):
        raise ValueError("no video id or channel title")
    counts = tuple(int(line[name]) for name in COUNT_COLUMNS)
    if min(counts) < 0:
        raise ValueError(f"negative count {min(counts)}")
    return DailyRow(video_id, title, channel_title, date.fromisoformat(line["day"]), counts)
