"""The event of a client, with every limit that the gateway enforces.

Each limit protects a later stage: one NUL or lone surrogate fails a whole COPY, an integer past 2^63 aborts a flush, an
unbounded string fills the log.
"""

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

# Printable text that fits one segment of a URL: no controls (NUL among them), no white space, no "/" and
# no surrogates, which are not text and which COPY refuses.
VIDEO_ID_PATTERN = r"^[^\x00-\x20\x7f-\xa0/\ud800-\udfff\u2028\u2029\ufeff]+\Z"
# The same with "/": it is never part of a URL, and base64 has it.
VIEWER_ID_PATTERN = VIDEO_ID_PATTERN.replace("/", "")

VideoId = Annotated[str, Meta(min_length=1, max_length=VIDEO_ID_MAX_CHARACTERS, pattern=VIDEO_ID_PATTERN)]
ViewerId = Annotated[str, Meta(min_length=1, max_length=VIEWER_ID_MAX_CHARACTERS, pattern=VIEWER_ID_PATTERN)]
Value = Annotated[float, Meta(ge=0, le=VALUE_MAX)]


class Event(Struct, frozen=True, gc=False):
    """One event as a client sends it.

    event_id: UUID chosen by the client, the same at every retry; version 7 preferred.
    occurred_at: RFC 3339 with offset.
    value: measurement of a valued event (seconds watched), to thousandths. Other types may omit it.
    viewer_id: the client's own id of the viewer, the same in every event of that viewer; never stored in clear, see
        `events.viewer`. None: not given.
    """

    event_id: UUID
    video_id: VideoId
    event_type: Annotated[str, Meta(max_length=EVENT_TYPE_MAX_CHARACTERS)]
    occurred_at: Annotated[datetime, Meta(tz=True)]
    value: Value | None = None
    viewer_id: ViewerId | None = None
