"""The lag in seconds while the log server's clock is wrong: events were shed for it."""

import time

from tests.unit.processing.builders import uuid4_of
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.maintenance.lag import read_lag

TEN_DAYS = 864_000


def test_a_log_whose_clock_is_ten_days_ahead_makes_no_lag_of_ten_days(clean_cluster):
    log = MemoryEventLog(clock=lambda: time.time() + TEN_DAYS)
    now_us = time.time_ns() // 1000
    payload = pack_entry([AcceptedEvent(uuid4_of(1).bytes, "v", 1, now_us, 1000)], received_us=now_us)
    for partition in range(clean_cluster.topology.partition_count):
        log.append({partition: payload})
    lag = read_lag(clean_cluster, log)
    assert lag.notice.seconds < 60
    assert lag.log_ahead_seconds > TEN_DAYS - 60
