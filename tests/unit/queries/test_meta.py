"""What an answer says about itself."""

from datetime import UTC, datetime, timedelta

from viewcounter.queries.meta import Source, build_meta
from viewcounter.storage.reads import Seen

NOW = datetime(2026, 6, 15, 10, 20, 30, tzinfo=UTC)


def see(watermark):
    return Seen(epoch=1, position="1-0", watermark=watermark)


def test_an_answer_is_complete_until_its_oldest_watermark_and_never_past_this_clock():
    def complete_until(*ages_seconds):
        seen = [see(NOW - timedelta(seconds=age)) for age in ages_seconds]
        return build_meta(seen, sources=[Source.TOTAL], now=NOW).complete_until

    assert complete_until(2, 5) == NOW - timedelta(seconds=5)
    assert complete_until(-864_000, -864_000) == NOW
    assert complete_until(-864_000, 5) == NOW - timedelta(seconds=5)
