"""What an ETag is made of."""

from datetime import UTC, datetime, timedelta

import pytest

from viewcounter.api.http_caching import compute_etag

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
META = {"complete_until": NOW, "as_of": NOW, "stale": False, "partial": False, "missing": [], "source": ["total"]}
BODY = {"video_id": "cats", "counts": {"view": 1, "like": 0}, "meta": META}


def with_meta(**changes):
    return {**BODY, "meta": {**META, **changes}}


def test_when_somebody_looked_is_not_part_of_it():
    assert compute_etag(with_meta(as_of=NOW + timedelta(hours=1))) == compute_etag(BODY)
    stale = with_meta(stale=True, age_seconds=5.0)
    assert compute_etag(with_meta(stale=True, age_seconds=6.0)) == compute_etag(stale)


@pytest.mark.parametrize(
    "other",
    [
        {**BODY, "video_id": "dogs"},
        {**BODY, "counts": {"view": 2, "like": 0}},
        with_meta(complete_until=NOW + timedelta(seconds=1)),
        with_meta(stale=True),
        with_meta(partial=True, missing=["shard2"]),
        with_meta(source=["total", "minute"]),
    ],
)
def test_everything_else_is(other):
    assert compute_etag(other) != compute_etag(BODY)
