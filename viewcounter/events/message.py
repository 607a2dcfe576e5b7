"""The event of a client, with every limit that the gateway enforces.

Each limit protects a later stage: one NUL or lone surrogate fails a whole COPY, an integer past 2^63 aborts a flush, an
unbounded string fills the log.
"""

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

VIDEO_ID_MAX_CHARACTERS = 128
VIEWER_ID_MAX_CHARACTERS = 128
EVENT_TYPE_MAX_CHARACTERS = 64
VALUE_MAX = 1_000_000
VALUE_SCALE = 1000
"""Values are kept as integers of thousandths, so that sums are exact in any order of addition."""

# Invisible characters, and those that change the direction of the text: two ids would look the same.
_INVISIBLE = (
    r"\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f"
    r"\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0"
)
# Visible text that fits one segment of a URL: no controls (NUL among them), no white space, no "/", neither "." nor
# ".." (clients resolve them away), and no surrogates, which are not text and which COPY refuses.
_NOT_IN_VIDEO_ID = r"\x00-\x20\x7f-\xa0/\ud800-\udfff" + _INVISIBLE
VIDEO_ID_PATTERN = r"^(?!\.{1,2}\Z)[^" + _NOT_IN_VIDEO_ID + r"]+\Z"
# Never part of a URL, and base64 has "/".
_NOT_IN_VIEWER_ID = r"\x00-\x20\x7f-\xa0\ud800-\udfff\u2028\u2029\ufeff"
VIEWER_ID_PATTERN = r"^[^" + _NOT_IN_VIEWER_ID + r"]+\Z"
_SEPARATOR = "/"  # in no video id
_WRONG_VIDEO_IDS = re.compile(rf"[{_NOT_IN_VIDEO_ID.replace('/', '')}]|(?:\A|/)\.{{1,2}}(?:/|\Z)")
_WRONG_VIEWER_IDS = re.compile(f"[{_NOT_IN_VIEWER_ID}]")

VideoId = Annotated[str, Meta(min_length=1, max_length=VIDEO_ID_MAX_CHARACTERS, pattern=VIDEO_ID_PATTERN)]
ViewerId = Annotated[str, Meta(min_length=1, max_length=VIEWER_ID_MAX_CHARACTERS, pattern=VIEWER_ID_PATTERN)]
EventType = Annotated[str, Meta(max_length=EVENT_TYPE_MAX_CHARACTERS)]
Value = Annotated[float, Meta(ge=0, le=VALUE_MAX)]


class Event(Struct, frozen=True, gc=False):
    """One event as a client sends it.

    event_id: UUID chosen by the client, the same at every retry; version 7 preferred.
    occurred_at: RFC 3339 with offset.
    value: measurement of a valued event (seconds watched), to thousandths. Other types may omit it.
    viewer_id: the client's own id of the viewer, the same in every event of that viewer; never stored in clear, see
        `events.viewer`. None: not given.

    Patterns and normal form of the ids are not in the types: `are_canonical` checks those of a batch at once, which
    takes half the time of decoding it with patterns.
    """

    event_id: UUID
    video_id: Annotated[str, Meta(min_length=1, max_length=VIDEO_ID_MAX_CHARACTERS)]
    event_type: EventType
    occurred_at: Annotated[datetime, Meta(tz=True)]
    value: Value | None = None
    viewer_id: Annotated[str, Meta(min_length=1, max_length=VIEWER_ID_MAX_CHARACTERS)] | None = None


def normalize_id(text: str) -> str:
    """Normal form C of Unicode: texts that look the same because one has combining accents are one id."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def are_canonical(events: Sequence[Event]) -> bool:
    """Whether all ids of videos and viewers match their patterns, and those of videos are in normal form C."""
    videos = _SEPARATOR.join([event.video_id for event in events])
    if videos.count(_SEPARATOR) >= max(1, len(events)) or _WRONG_VIDEO_IDS.search(videos):
        return False
    viewers = "".join([event.viewer_id for event in events if event.viewer_id is not None])
    return not _WRONG_VIEWER_IDS.search(viewers) and unicodedata.is_normalized("NFC", videos)
