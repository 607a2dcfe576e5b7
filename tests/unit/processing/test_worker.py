from viewcounter.config import Config
from viewcounter.processing.consumer import FlushLimits
from viewcounter.processing.worker import build_drain_settings

SETTINGS = {
    "VIEWCOUNTER_FLUSH_MAX_EVENTS": "11",
    "VIEWCOUNTER_FLUSH_MAX_BYTES": "12",
    "VIEWCOUNTER_FLUSH_MAX_KEYS": "13",
    "VIEWCOUNTER_FLUSH_MAX_SECONDS": "1.4",
    "VIEWCOUNTER_FLUSH_QUEUE_BATCHES": "15",
    "VIEWCOUNTER_DRAIN_BUDGET_SECONDS": "1.6",
    "VIEWCOUNTER_LOG_READ_ENTRIES": "17",
}


def test_each_bound_of_a_drain_is_the_setting_of_its_name(monkeypatch):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    settings = build_drain_settings(Config())
    assert settings.flush == FlushLimits(max_events=11, max_bytes=12, max_keys=13, max_seconds=1.4)
    assert (settings.max_queued_batches, settings.budget_seconds, settings.log_read_entries) == (15, 1.6, 17)
