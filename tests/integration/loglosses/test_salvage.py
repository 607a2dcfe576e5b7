"""An older log server that comes back: fenced, read, appended again, and closed only after its entries are applied."""

import shutil
import time

import pytest

from tests.contracts.log_server import LogServer
from tests.integration.processing.draining import make_drainer
from tests.unit.processing.builders import uuid4_of
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.confirmation import LogConfirmation
from viewcounter.eventlog.errors import LogLost
from viewcounter.eventlog.interface import LogIdentity, Position
from viewcounter.eventlog.redis_older_server import OlderServer
from viewcounter.eventlog.redis_streams import RedisEventLog
from viewcounter.events.partition import get_partition
from viewcounter.loglosses import salvage
from viewcounter.loglosses.errors import LossesUnconfirmed, SalvageRefused
from viewcounter.loglosses.losses import accept_losses, iterate_losses

VIDEO = "XpVt6Z1Gjjo"
NOW_US = time.time_ns() // 1000


class Salvage:
    """A cluster whose log was lost with entries 2 and 3 unread, and has gone on in another term with entry 4."""

    def __init__(self, cluster, folder):
        self.cluster = cluster
        self.log_id = f"{cluster.topology.cluster_id}:1"
        self.partition = get_partition(VIDEO, partition_count=cluster.topology.partition_count)
        self.older, self.server = LogServer(folder / "older"), LogServer(folder / "log")
        self.older.start()
        self.clients = []
        former = self.connect(self.older)
        former.open(LogIdentity(self.log_id, 1))
        self.append(former, 1)
        self.drain(former)
        self.append(former, 2)
        self.copy = self.older.copy()
        self.end = self.append(former, 3)
        self.former = former
        self.server.start()
        self.log = self.connect(self.server)
        lost = {p: Position(1, 0) if p == self.partition else Position(0, 0) for p in range(self.partition_count)}
        self.log.open(LogIdentity(self.log_id, 2), lost=lost)
        self.append(self.log, 4)
        self.drain(self.log)

    @property
    def partition_count(self):
        return self.cluster.topology.partition_count

    def connect(self, server):
        confirm = LogConfirmation(lambda: self.cluster, seconds=5.0, clock_skew_seconds=60.0)
        log = RedisEventLog(server.url, timeout_seconds=2.0, get_log_id=lambda: self.log_id, confirm=confirm)
        self.clients.append(log)
        return log

    def append(self, log, number):
        events = [AcceptedEvent(uuid4_of(number).bytes, VIDEO, 1, NOW_US, 1000)]
        result = log.append({self.partition: pack_entry(events, received_us=NOW_US)})
        assert not result.failed
        return result.positions[self.partition]

    def drain(self, log):
        return make_drainer(self.cluster, log).drain([self.partition])

    def list_losses(self, *, only_open=True):
        return [
            (loss.after_position, loss.through_position)
            for loss in iterate_losses(self.cluster, only_open=only_open, partition=self.partition)
        ]

    def run(self, url, *, is_whole=False, drains=True):
        older = OlderServer(url, timeout_seconds=2.0)
        try:
            salvage.fence(older, self.log, cluster_id=self.cluster.topology.cluster_id)
            losses = list(iterate_losses(self.cluster, only_open=False))
            plans = salvage.plan_salvage([loss for loss in losses if loss.outcome != "salvaged"], older)
            found = salvage.append_again(plans, older, self.log, is_whole=is_whole, on_progress=lambda *_: None)
            report = self.drain(self.log) if drains else None
            salvage.wait_until_applied(self.cluster, found.ends, timeout_seconds=0.0, clock=time.monotonic)
            left = salvage.close_salvaged(self.cluster, plans, found, actor="ada", reason="it came back")
            return report, left
        finally:
            older.close()

    def close(self):
        for client in self.clients:
            client.close()
        self.older.kill()
        self.server.kill()


@pytest.fixture
def story(clean_cluster, tmp_path):
    story = Salvage(clean_cluster, tmp_path)
    yield story
    story.close()


def test_the_entries_of_the_older_server_are_counted_and_the_loss_is_closed(story):
    assert story.list_losses() == [("1-0", "2-0")]
    report, left = story.run(story.older.url, is_whole=True)
    assert (report.counted, report.duplicate, left) == (2, 0, [])
    assert story.list_losses() == []
    [loss] = iterate_losses(story.cluster, only_open=False, partition=story.partition)
    assert (loss.outcome, loss.closed_by, loss.close_reason) == ("salvaged", "ada", "it came back")


def test_what_a_copy_does_not_hold_stays_lost(story, tmp_path):
    copied = LogServer(tmp_path / "again")
    shutil.copytree(story.copy, tmp_path / "again")
    copied.start()
    try:
        report, _ = story.run(copied.url)
    finally:
        copied.kill()
    assert report.counted == 1
    assert story.list_losses() == [(f"1-{story.end.seq - 1}", "2-0")]
    report, _ = story.run(story.older.url, is_whole=True)
    assert (report.counted, report.duplicate) == (1, 0)
    assert story.list_losses() == []


def test_nobody_appends_to_a_fenced_server(story):
    story.run(story.older.url, is_whole=True)
    events = [AcceptedEvent(uuid4_of(9).bytes, VIDEO, 1, NOW_US, 1000)]
    result = story.former.append({story.partition: pack_entry(events, received_us=NOW_US)})
    assert isinstance(result.failed[story.partition], LogLost)
    report, _ = story.run(story.older.url)
    assert report.counted == 0


def test_a_loss_is_open_until_the_entries_are_applied(story):
    with pytest.raises(LossesUnconfirmed, match=rf"partitions {story.partition} have not been applied"):
        story.run(story.older.url, drains=False)
    assert story.list_losses() == [("1-0", "2-0")]
    report, _ = story.run(story.older.url, is_whole=True)
    assert (report.counted, report.duplicate) == (2, 2)
    assert story.list_losses() == []


def test_entries_that_were_trimmed_on_the_older_server_stay_lost(story):
    story.former.trim(story.partition, through=Position(1, story.end.seq - 1))
    report, _ = story.run(story.older.url, is_whole=True)
    assert report.counted == 1
    assert story.list_losses() == [("1-0", f"1-{story.end.seq - 1}")]


def test_a_salvage_that_is_lost_once_more_closes_nothing(story):
    with story.cluster.transaction(story.partition) as connection:
        connection.execute(
            "INSERT INTO log_loss (partition, after_position, through_position, reason)"
            " VALUES (%s, '2-0', '9-0', 'replaced')",
            [story.partition],
        )
    _, left = story.run(story.older.url, is_whole=True)
    assert [loss.after_position for loss in left] == ["1-0"]
    assert set(story.list_losses()) == {("1-0", "2-0"), ("2-0", "9-0")}


def test_only_a_former_log_of_this_cluster_is_salvaged(story):
    with pytest.raises(SalvageRefused, match="is the cluster's log"):
        story.run(story.server.url)
    with story.older.connect() as raw:
        raw.set("log-id", "other:1")
        with pytest.raises(SalvageRefused, match="other:1 of another cluster"):
            story.run(story.older.url)
        assert raw.get("log-id") == b"other:1"
        raw.delete("log-id")
    with pytest.raises(SalvageRefused, match="holds no log"):
        story.run(story.older.url)


def test_an_accepted_loss_may_still_be_salvaged(story):
    [loss] = iterate_losses(story.cluster, only_open=True, partition=story.partition)
    assert accept_losses(story.cluster, [loss.key], actor="ada", reason="gone") == {loss.key}
    assert accept_losses(story.cluster, [loss.key], actor="bob", reason="again") == set()
    assert story.list_losses() == []
    story.run(story.older.url, is_whole=True)
    [loss] = iterate_losses(story.cluster, only_open=False, partition=story.partition)
    assert (loss.outcome, loss.closed_by) == ("salvaged", "ada")


def test_a_server_that_began_after_a_loss_does_not_vouch_for_it(story, tmp_path):
    """The present log is lost too. Its server never held what the first one had."""
    next_server = LogServer(tmp_path / "next")
    next_server.start()
    second, story.log = story.log, story.connect(next_server)
    story.append(second, 5)
    applied = {p: Position(2, 1) for p in range(story.partition_count)}
    story.log_id = f"{story.cluster.topology.cluster_id}:2"
    story.log.open(LogIdentity(story.log_id, 3), lost=applied)
    story.append(story.log, 6)
    story.drain(story.log)
    assert sorted(story.list_losses()) == [("1-0", "2-0"), ("2-1", "3-0")]
    report, _ = story.run(story.server.url, is_whole=True)
    next_server.kill()
    assert report.counted == 1
    assert story.list_losses() == [("1-0", "2-0")]


def test_the_first_entry_of_a_partition_is_salvaged_too(story):
    other = (story.partition + 1) % story.partition_count
    events = [AcceptedEvent(uuid4_of(7).bytes, VIDEO, 1, NOW_US, 1000)]
    assert story.former.append({other: pack_entry(events, received_us=NOW_US)}).positions == {other: Position(1, 0)}
    make_drainer(story.cluster, story.log).drain([other])
    story.drain = lambda log: make_drainer(story.cluster, log).drain([story.partition, other])
    story.run(story.older.url, is_whole=True)
    assert list(iterate_losses(story.cluster, only_open=True)) == []
    with story.cluster.transaction(other) as connection:
        rows = connection.execute("SELECT count(*) AS n FROM raw_event WHERE partition = %s", [other]).fetchone()
    assert rows["n"] == 1


def test_a_server_does_not_vouch_for_what_it_had_lost_itself(story):
    """The former server came back with older data before, and began a term: it holds nothing of that range."""
    with story.cluster.transaction(story.partition) as connection:
        connection.execute(
            "INSERT INTO log_loss (partition, after_position, through_position, reason)"
            " VALUES (%s, '1-2', '1-5', 'missing')",
            [story.partition],
        )
    story.former.open(LogIdentity(story.log_id, 1), replaces=LogIdentity(story.log_id, 1))
    with story.older.connect() as raw:
        raw.xadd(f"log:{{{story.partition}}}", {"e": b"", "b": 0, "m": "lost"}, id="1-5")
    report, left = story.run(story.older.url, is_whole=True)
    assert report.counted == 2
    assert ("1-2", "1-5") in story.list_losses()
    assert [loss.after_position for loss in left] == ["1-2"]
