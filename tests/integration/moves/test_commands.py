"""The commands that move partitions, and the task that resumes abandoned moves."""

import io
import json
from datetime import timedelta
from itertools import chain, repeat

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from configservice.models import Move
from configservice.moves.records import get_move
from configservice.moves.states import MoveState
from runtime.metrics import REGISTRY
from tests.integration.moves.moving import Crash, Moving
from tests.integration.processing.counted import PARTITION
from viewcounter.config import get_config
from viewcounter.health.registration import find_services
from viewcounter.moves import process
from viewcounter.moves import scheduler as driving
from viewcounter.moves.metrics import publish_unfinished
from viewcounter.moves.scheduler import resume_abandoned, run_next


def call(*arguments):
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


@pytest.fixture
def log_of_test(moving: Moving, monkeypatch):
    monkeypatch.setattr(driving, "get_event_log", lambda: moving.counted.log)
    return moving


def test_a_partition_is_moved_by_name_and_what_it_cost_is_told(log_of_test: Moving):
    out = call("move_partitions", "--from", "shard2", "--to", "shard1", "--partitions", str(PARTITION), "--yes")
    assert out.startswith("1 of 1 partitions moved: ")
    assert "rows/s; held" in out
    log_of_test.assert_exact_on("shard1")
    [move] = json.loads(call("moves", "list", "--json"))
    assert (move["partition"], move["from"], move["to"], move["state"]) == (PARTITION, "shard2", "shard1", "done")
    assert (move["progress"], move["error"], move["setbacks"]) == (1.0, None, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "shard9", "--to", "shard1", "--count", "1"], "there is no shard shard9; there are shard1, shard2"),
        (["--from", "shard2", "--to", "shard1", "--count", "5"], "shard2 has 4 partitions, 5 cannot be moved"),
        (["--from", "shard2", "--to", "shard1", "--partitions", "2"], "not on shard2: 2"),
        (["--from", "shard2", "--to", "shard1", "--partitions", "x"], "'x' is neither"),
        (["--from", "shard2", "--to", "shard2", "--count", "1"], "partition 1 is on shard2 already"),
    ],
)
def test_what_cannot_be_moved_is_refused_with_the_reason(clean_cluster, arguments, message):
    with pytest.raises(CommandError, match=message):
        call("move_partitions", *arguments, "--yes")
    assert Move.objects.count() == 0


def test_nothing_moves_without_a_yes(clean_cluster):
    with pytest.raises(CommandError, match="confirm with --yes"):
        call("move_partitions", "--from", "shard2", "--to", "shard1", "--count", "1")
    assert Move.objects.count() == 0


def test_rebalance_shows_and_does_nothing_where_all_is_even(clean_cluster):
    assert call("rebalance", "--dry-run") == "0 moves\n"


def test_a_planned_move_is_taken_up_by_a_mover_and_rebalanced_back(log_of_test: Moving):
    call("move_partitions", "--from", "shard2", "--to", "shard1", "--count", "2", "--yes", "--plan-only")
    tools = log_of_test.make_tools()
    assert run_next(tools)
    assert run_next(tools)
    assert not run_next(tools)
    log_of_test.cluster.refresh_topology()
    assert len(log_of_test.cluster.topology.get_partitions_of(1)) == 6
    assert call("rebalance", "--dry-run").splitlines()[-1] == "2 moves"
    assert call("rebalance", "--yes").startswith("2 of 2 partitions moved")
    log_of_test.cluster.refresh_topology()
    assert len(log_of_test.cluster.topology.get_partitions_of(1)) == 4


def read_metric(name, **labels):
    return REGISTRY.get_sample_value(f"viewcounter_{name}", labels) or 0.0


def test_a_mover_carries_out_what_was_asked_for_and_counts_it(log_of_test: Moving, monkeypatch):
    monkeypatch.setattr(process, "build_tools", lambda *_, **__: log_of_test.make_tools())
    counted = [("moves_total", {"outcome": "done"}), ("move_rows_total", {}), ("move_held_seconds_count", {})]
    before = [read_metric(name, **labels) for name, labels in counted]
    move = log_of_test.plan()
    publish_unfinished()
    assert read_metric("moves_unfinished", state="planned") == 1
    said = []

    def is_done():
        said.extend(find_services() or ())
        return get_move(move.pk).state == MoveState.DONE

    mover = process.MoverProcess(get_config(), is_stopping=is_done)
    mover.run()
    log_of_test.assert_exact_on("shard1")
    assert {(s.service.kind, s.service.state) for s in said} == {("mover", "serving")}
    assert find_services() == []
    done, rows, held = [read_metric(name, **labels) - was for (name, labels), was in zip(counted, before, strict=True)]
    assert (done, held) == (1, 1)
    assert rows >= get_move(move.pk).rows_copied > 0
    publish_unfinished()
    assert read_metric("moves_unfinished", state="planned") == read_metric("moves_running") == 0
    assert mover.check_health() == (True, {"status": "idle", "trouble": ""})


def test_a_mover_whose_control_database_is_away_says_so_and_waits(log_of_test: Moving, move_cluster):
    answers = chain([False], repeat(True))
    control = move_cluster.server("control")
    mover = process.MoverProcess(get_config(), is_stopping=lambda: next(answers))
    control.kill()
    try:
        mover.run()
    finally:
        control.start()
        control.wait_ready()
        connections.close_all()
    assert mover.check_health() == (True, {"status": "idle", "trouble": "the control database does not answer"})


def test_a_move_is_aborted_by_its_number(log_of_test: Moving):
    move = log_of_test.plan()
    assert "aborted" in call("moves", "abort", str(move.pk))
    with pytest.raises(CommandError, match="can no longer be aborted"):
        call("moves", "abort", str(move.pk))
    with pytest.raises(CommandError, match="there is no move 999999"):
        call("moves", "abort", "999999")
    log_of_test.assert_exact_on("shard2")


@pytest.mark.parametrize("state", ["held", "activated", "flipped"])
def test_a_partition_whose_mover_died_handing_over_does_not_wait_for_an_operator(log_of_test: Moving, state):
    def stop(move):
        if move.state == state:
            raise Crash

    move = log_of_test.plan()
    with pytest.raises(Crash):
        log_of_test.run(move, on_step=stop)
    Move.objects.filter(pk=move.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert resume_abandoned(log_of_test.make_tools()) == 1
    move.refresh_from_db()
    assert move.state == MoveState.RELEASED
    assert log_of_test.find_owners() == ["shard1"]
    assert resume_abandoned(log_of_test.make_tools()) == 0
