"""What a monitor may have seen of an instance."""

from dataclasses import replace

from configservice.monitoring.probe_result import InstanceState, ProbeResult

NOW = 1000.0

PRIMARY_STATE = InstanceState(
    in_recovery=False,
    is_read_only=False,
    lsn=100,
    replay_lsn=100,
    timeline=1,
    is_receiving=False,
    sender_host=None,
    sender_port=None,
    stream_silence_seconds=None,
    stream_timeout_seconds=3.0,
    is_detached=False,
    synchronous_standby_names="",
)
STREAMING = replace(
    PRIMARY_STATE,
    in_recovery=True,
    is_receiving=True,
    sender_host="10.0.0.1",
    sender_port=5432,
    stream_silence_seconds=0.2,
)
BROKEN = replace(STREAMING, is_receiving=False, sender_host=None, sender_port=None, stream_silence_seconds=None)


def saw(state, *, seconds_ago=0.1):
    return ProbeResult(NOW - 60, state=state, answered_at=NOW - seconds_ago)


def gone(*, count=2, seconds_ago=0.3):
    probe = saw(PRIMARY_STATE, seconds_ago=seconds_ago)
    for _ in range(count):
        probe = probe.record_failure("connection refused", is_gone=True, now=NOW - 0.2)
    return probe


def silent(seconds):
    return saw(PRIMARY_STATE, seconds_ago=seconds).record_failure("no answer", is_gone=False, now=NOW - 0.2)
