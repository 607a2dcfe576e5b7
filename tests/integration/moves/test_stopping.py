"""A mover process whose control database is frozen while the partition takes no flushes ends all the same."""

import signal
import sys
from pathlib import Path

import pytest
from django.db import connections, transaction

from configservice.moves.records import get_move
from configservice.topology.publication import lock_topology
from devtools.localcluster import LocalCluster
from tests.integration.moves.moving import Crash, Moving
from tests.pace import limit
from tests.processes import running
from tests.waiting import wait_until

QUERY_SECONDS = 3
STOP_SECONDS = 25.0
"""Three waits for the frozen server, one for each statement that is left, and the end of a Python process."""


@pytest.mark.long(minutes=0.5)
def test_a_mover_stops_though_the_control_database_is_frozen(
    moving: Moving, move_cluster: LocalCluster, tmp_path: Path
):
    move = moving.plan()

    def die_before_the_decision(move):
        if move.state == "activated":
            raise Crash

    with pytest.raises(Crash):
        moving.run(move, on_step=die_before_the_decision)
    moving.let_lease_end(move)
    control, log = move_cluster.server("control"), tmp_path / "mover.log"
    environment = move_cluster.environment | {
        "VIEWCOUNTER_CONTROL_DATABASE_QUERY_SECONDS": str(QUERY_SECONDS),
        "VIEWCOUNTER_CONTROL_DATABASE_SILENCE_SECONDS": "0.5",
    }
    command = [sys.executable, "manage.py", "run_mover"]
    with log.open("w") as output, running(command, environment=environment, stderr=output.fileno()) as mover:
        try:
            with transaction.atomic():
                lock_topology()  # the decision waits for it
                wait_until(lambda: get_move(move.pk).lease_owner != "", what="the mover to claim the move")
                control.pause()
                connections.close_all()
            said = f"move {move.pk}: the control database does not answer"
            wait_until(lambda: said in log.read_text(), what="a failure that cannot be recorded")
            mover.send_signal(signal.SIGTERM)
            assert mover.wait(limit(STOP_SECONDS)) == 0, log.read_text()
        finally:
            control.resume()
    assert get_move(move.pk).state == "activated"
    assert moving.run(move).state == "done"
    moving.assert_exact_on("shard1")
