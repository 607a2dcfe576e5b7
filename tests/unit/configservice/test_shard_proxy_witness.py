"""How far the report of a shard proxy counts: its age, its host, and its content."""

import time

import pytest

from configservice.errors import WitnessUnavailable
from configservice.monitoring.failure_detection import Liveness, classify_primary
from configservice.monitoring.probe_result import ProbeResult
from configservice.monitoring.shard_proxy_witness import ShardProxyWitness, classify_report
from configservice.monitoring.witness_reports import ReceivedReport, WitnessReport
from configservice.settings import ConfigServiceSettings
from configservice.topology.model import Instance, Role, Shard
from tests.waiting import wait_until

PRIMARY = Instance("a", Role.PRIMARY, "10.0.0.1", 5432, "db", "user", "env:X")
SHARD = Shard(1, "s1", 1, (PRIMARY,))
NOW = 1000.0
DEAD_TO_US = ProbeResult(watched_since=0.0, answered_at=990.0, failed_at=995.0, failure_count=3, failure="silent")


def report_of(*, reachable, age=0.0, witness="other:7", host="10.0.0.1", instance="a"):
    return ReceivedReport(witness, WitnessReport(instance, host, 5432, reachable, age, "" if reachable else "refused"))


@pytest.mark.parametrize(
    ("report", "liveness"),
    [
        (report_of(reachable=True), Liveness.ALIVE),
        (report_of(reachable=True, age=4.9), Liveness.ALIVE),
        (report_of(reachable=True, age=5.1), Liveness.UNKNOWN),
        (report_of(reachable=False), Liveness.DEAD),
        (report_of(reachable=False, age=5.1), Liveness.UNKNOWN),
        (report_of(reachable=True, witness="ours:8"), Liveness.ALIVE),
        (report_of(reachable=False, witness="ours:8"), Liveness.UNKNOWN),
    ],
)
def test_a_report_counts_only_if_younger_than_the_first_failure(report, liveness):
    assert classify_report(report, read_at=NOW, failed_at=995.0, now=NOW, own_host="ours").liveness is liveness


class Reports:
    def __init__(self, reports):
        self.reports = reports
        self.read_count = 0

    def read(self):
        self.read_count += 1
        if self.reports is None:
            raise WitnessUnavailable("down")
        return self.reports


@pytest.fixture
def start_witness():
    opened = []

    def start(source):
        opened.append(ShardProxyWitness(source.read, host="ours", interval_seconds=0.01))
        opened[-1].start()
        wait_until(lambda: source.read_count >= 2)
        return opened[-1]

    yield start
    for witness in opened:
        witness.close()


def judge(witness, probe=DEAD_TO_US):
    shift = time.monotonic() - NOW  # as if the failures had just happened
    probe = ProbeResult(
        watched_since=probe.watched_since + shift,
        answered_at=probe.answered_at + shift,
        failed_at=probe.failed_at + shift,
        failure_count=probe.failure_count,
        failure=probe.failure,
    )
    return classify_primary(SHARD, {"a": probe}, [witness], now=NOW + shift, settings=ConfigServiceSettings())


@pytest.mark.parametrize(
    ("reports", "is_dead", "why"),
    [
        ([report_of(reachable=False)], True, "shard proxy other:7: did not reach it"),
        (
            [report_of(reachable=False), report_of(reachable=True, witness="third:9")],
            False,
            "shard proxy third:9: reached it",
        ),
        ([report_of(reachable=False, witness="ours:7")], False, "no witness confirms it"),
        ([report_of(reachable=False, host="10.0.0.9")], False, "no witness confirms it"),
        ([report_of(reachable=False, instance="b")], False, "no witness confirms it"),
        ([], False, "no witness confirms it"),
        (None, False, "no witness confirms it"),
    ],
)
def test_a_primary_is_dead_when_a_shard_proxy_elsewhere_says_so_and_none_reaches_it(
    start_witness, reports, is_dead, why
):
    verdict = judge(start_witness(Reports(reports)))
    assert (verdict.is_dead, why in verdict.why) == (is_dead, True)


def test_what_was_heard_grows_old_while_nobody_is_heard(start_witness):
    source = Reports([report_of(reachable=True, age=4.99)])
    witness = start_witness(source)
    source.reports = None
    count = source.read_count
    wait_until(lambda: source.read_count > count + 2)
    wait_until(lambda: "no witness confirms it" in judge(witness).why)
