"""The log is created once; a server without it is used only after an operator has accepted the loss."""

import io
import time

import pytest
from django.core.management import CommandError, call_command

from configservice.models import Cluster, LogLoss
from configservice.topology.event_log import is_log_of
from configservice.topology.publication import publish
from tests.contracts.log_server import LogServer
from tests.integration.processing.draining import make_drainer
from tests.integration.processing.pulling import advance_idle
from tests.unit.processing.builders import uuid4_of
from viewcounter.controlplane.event_log import LogRefused, accept_loss, create_log, find_losses
from viewcounter.eventlog.checks import check_event_log
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.eventlog.errors import LogLost, PositionTrimmed
from viewcounter.eventlog.interface import START, LogIdentity, Position
from viewcounter.eventlog.redis_streams import RedisEventLog
from viewcounter.eventlog.registry import get_event_log
from viewcounter.events.partition import get_partition
from viewcounter.storage.log_sessions import READ_LOG_LOSSES

VIDEO = "XpVt6Z1Gjjo"
NOW_US = time.time_ns() // 1000


@pytest.fixture
def server(tmp_path):
    server = LogServer(tmp_path / "log")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def row(clean_cluster, django_db_blocker):
    """The cluster's row, which is put back; a cluster without a log."""
    with django_db_blocker.unblock():
        before = Cluster.objects.get().log_id
        name(clean_cluster, "")
        yield Cluster.objects.get()
        LogLoss.objects.all().delete()
        name(clean_cluster, before)


def name(cluster, log_id):
    Cluster.objects.update(log_id=log_id)
    epoch = publish(reason="a test", actor="test").epoch
    cluster.refresh_topology()
    assert (cluster.topology.epoch, cluster.topology.log_id) == (epoch, log_id)


@pytest.fixture
def log(row, server):
    streams = RedisEventLog(server.url, timeout_seconds=2.0, get_log_id=lambda: Cluster.objects.get().log_id)
    yield streams
    streams.close()


def lose(server):
    server.kill()
    server.empty()
    server.start()


def partition_of(cluster):
    return get_partition(VIDEO, partition_count=cluster.topology.partition_count)


def append(log, partition, *numbers):
    events = [AcceptedEvent(uuid4_of(number).bytes, VIDEO, 1, NOW_US, 1000) for number in numbers]
    return log.append({partition: pack_entry(events, received_us=NOW_US)}).positions[partition]


def set_position(cluster, partition, position):
    with cluster.transaction(partition) as connection:
        connection.execute("UPDATE partition_state SET position = %s WHERE partition = %s", [str(position), partition])


def test_a_log_is_created_once_and_named_after_its_cluster(clean_cluster, row, log):
    log_id = create_log(clean_cluster, log, actor="ada")
    assert is_log_of(str(row.id), log_id)
    assert (log.read_identity().id, Cluster.objects.get().log_id) == (log_id, log_id)
    assert create_log(clean_cluster, log, actor="ada") is None
    log.check()


def test_a_creation_that_stopped_half_way_goes_on_with_the_same_log(clean_cluster, row, log):
    log.open(LogIdentity(f"{row.id}:0123456789ab", 1))
    assert create_log(clean_cluster, log, actor="ada") == f"{row.id}:0123456789ab"


def test_a_shard_older_than_the_log_goes_on_once_its_loss_is_accepted(clean_cluster, row, log):
    partition = partition_of(clean_cluster)
    log_id = create_log(clean_cluster, log, actor="ada")
    drainer = make_drainer(clean_cluster, log)
    applied = append(log, partition, 1)
    assert drainer.drain([partition]).counted == 1
    trimmed = append(log, partition, 2)
    append(log, partition, 3)
    log.trim(partition, through=trimmed)  # a copy that is gone had applied so much
    with pytest.raises(PositionTrimmed):
        drainer.drain([partition])
    topology = accept_loss(clean_cluster, log, actor="ada", reason="its replica was promoted")
    assert (topology.log_id, log.read_identity().id) == (log_id, log_id)
    loss = LogLoss.objects.get()
    assert (loss.partition, loss.position, loss.log_id) == (partition, str(applied), log_id)
    assert drainer.drain([partition]).counted == 1
    with pytest.raises(LogRefused, match="nothing is lost"):
        accept_loss(clean_cluster, log, actor="ada", reason="again")
    assert LogLoss.objects.count() == 1


def test_a_server_that_ends_too_early_or_holds_anothers_log_is_not_taken(clean_cluster, row, log, server):
    set_position(clean_cluster, 3, "5-0")
    with pytest.raises(LogRefused, match=r"ends before the applied positions of partitions 3:"):
        create_log(clean_cluster, log, actor="ada")
    set_position(clean_cluster, 3, "0-0")
    log.open(LogIdentity("7a9d8e5e-0000-4000-8000-000000000000:0123456789ab", 1))
    for take in (lambda: create_log(clean_cluster, log, actor="ada"), lambda: find_losses(clean_cluster, log)):
        with pytest.raises(LogRefused, match="holds the log of another cluster"):
            take()
    assert Cluster.objects.get().log_id == ""


def test_a_lost_log_goes_on_past_what_was_applied_and_the_loss_is_recorded(clean_cluster, log, server):
    partition = partition_of(clean_cluster)
    first = create_log(clean_cluster, log, actor="ada")
    drainer = make_drainer(clean_cluster, log)
    applied = append(log, partition, 1, 2)
    assert drainer.drain([partition]).counted == 2
    append(log, partition, 3)  # acknowledged, never applied
    lose(server)
    for use in (lambda: drainer.drain([partition]), lambda: advance_idle(clean_cluster, log)):
        with pytest.raises(LogLost):
            use()
    topology = accept_loss(clean_cluster, log, actor="ada", reason="its disk died")
    assert topology.log_id == log.read_identity().id != first
    losses = {loss.partition: loss for loss in LogLoss.objects.all()}
    assert len(losses) == topology.partition_count
    loss = losses[partition]
    assert (loss.shard, loss.position) == (topology.get_shard_of(partition).name, str(applied))
    assert (loss.log_id, loss.actor, loss.reason) == (first, "ada", "its disk died")
    assert append(log, partition, 4) > applied
    assert drainer.drain([partition]).counted == 1
    append(log, partition, 1, 2, 3)  # clients that never saw an answer send again
    report = drainer.drain([partition])
    assert (report.counted, report.duplicate) == (1, 2)
    with pytest.raises(LogRefused, match="nothing is lost"):
        accept_loss(clean_cluster, log, actor="ada", reason="again")


def test_a_replica_that_had_applied_less_reports_what_it_lacks(clean_cluster, log, server):
    partition = partition_of(clean_cluster)
    create_log(clean_cluster, log, actor="ada")
    applied = append(log, partition, 1)
    make_drainer(clean_cluster, log).drain([partition])
    lose(server)
    accept_loss(clean_cluster, log, actor="ada", reason="its disk died")
    append(log, partition, 2)
    set_position(clean_cluster, partition, START)  # as it was on a replica that is promoted now
    assert make_drainer(clean_cluster, log).drain([partition]).counted == 1
    with clean_cluster.transaction(partition) as connection:
        [loss] = connection.execute(READ_LOG_LOSSES.text, {"partitions": [partition]}).fetchall()
    assert (loss["after_position"], loss["through_position"], loss["reason"]) == ("0-0", "2-0", "replaced")
    assert START < applied < Position.parse(loss["through_position"])


def test_no_loss_is_accepted_while_it_is_unknown_what_a_shard_has_applied(clean_cluster, log, servers):
    create_log(clean_cluster, log, actor="ada")
    log.open(LogIdentity(f"{Cluster.objects.get().id}:ffffffffffff", 1))
    set_states(clean_cluster, "moved")
    try:
        with pytest.raises(LogRefused, match="the applied positions of partitions 0, "):
            accept_loss(clean_cluster, log, actor="ada", reason="its disk died")
    finally:
        set_states(clean_cluster, "owned")
    assert not LogLoss.objects.exists()


def set_states(cluster, state):
    with cluster.shard_transaction(cluster.topology.shards[0].id) as connection:
        connection.execute("UPDATE partition_state SET state = %s", [state])


def test_the_command_asks_wants_a_reason_and_says_what_is_lost(clean_cluster, row, log, monkeypatch):
    monkeypatch.setattr("viewcounter.eventlog.registry.get_event_log", lambda: log)
    with pytest.raises(CommandError, match="--reason"):
        run("--yes")
    create_log(clean_cluster, log, actor="ada")
    log.open(LogIdentity(f"{row.id}:ffffffffffff", 1))
    monkeypatch.setattr("builtins.input", lambda _: "n")
    with pytest.raises(CommandError, match="nothing was changed"):
        run("--reason", "its disk died")
    assert not LogLoss.objects.exists()
    said = run("--reason", "its disk died", "--yes")
    assert "partition 3 (shard2): lost after 0-0" in said
    assert Cluster.objects.get().log_id in said
    with pytest.raises(CommandError, match="nothing is lost"):
        run("--reason", "its disk died", "--yes")


def run(*arguments):
    out = io.StringIO()
    call_command("accept_log_loss", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_the_deploy_check_names_a_log_that_must_not_be_used(clean_cluster, servers):
    assert check_event_log() == []
    log_id = get_event_log().read_identity()
    get_event_log().open(LogIdentity("another", 1))
    try:
        [message] = check_event_log()
        assert (message.id, message.is_serious()) == ("viewcounter.E010", True)
        assert "holds another log, another" in message.msg
    finally:
        get_event_log().open(log_id)
