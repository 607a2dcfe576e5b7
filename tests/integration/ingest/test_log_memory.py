"""Events are refused before a real log server's memory is full, and taken again once entries were trimmed."""

import pytest

from runtime.metrics import REGISTRY
from tests.contracts.log_entries import pack
from tests.contracts.log_server import LogServer
from viewcounter.eventlog.interface import START
from viewcounter.eventlog.redis_streams import RedisEventLog
from viewcounter.ingest.load_shedding import LagWatch
from viewcounter.ingest.settings import ShedLimits

FULL_SHARE = 0.8


class NoBoard:
    """The lag is unknown, as without workers."""

    def read(self):
        return None

    def close(self):
        pass


@pytest.fixture
def log(tmp_path):
    server = LogServer(tmp_path / "log", options=("--maxmemory", "16mb"))
    server.start()
    log = RedisEventLog(server.url, timeout_seconds=5.0)
    yield log
    log.close()
    server.kill()


def test_events_are_shed_while_the_log_still_takes_entries(log):
    watch = LagWatch(NoBoard(), ShedLimits(), get_log=lambda: log, full_share=FULL_SHARE, interval_seconds=1.0)
    payload = pack(4000)
    watch.look()
    assert watch.reason is None
    for _ in range(100):
        result = log.append({0: payload})
        assert result.failed == {}, "the log was full before events were shed"
        watch.look()
        if watch.reason is not None:
            break
    assert watch.reason is not None
    assert watch.reason.code == "log_full"
    assert "events are taken again below 80%" in watch.reason.detail
    assert log.append({0: pack(1)}).failed == {}
    used, limit = (REGISTRY.get_sample_value(f"viewcounter_log_memory_{name}_bytes") for name in ("used", "max"))
    assert limit == 16 * 1024 * 1024
    assert FULL_SHARE * limit < used < limit
    log.trim(0, through=log.barrier([0])[0])
    assert log.read_unread({0: START}).events == {0: 0}
    watch.look()
    assert watch.reason is None


def test_a_log_that_does_not_answer_sheds_nothing(log):
    def fail():
        raise RuntimeError("a defect")

    for get_log in (lambda: RedisEventLog("redis://127.0.0.1:1/0", timeout_seconds=0.1), fail):
        watch = LagWatch(NoBoard(), ShedLimits(), get_log=get_log, full_share=FULL_SHARE, interval_seconds=1.0)
        watch.look()
        assert watch.reason is None
