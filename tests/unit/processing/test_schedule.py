"""Beat sends tasks by name: each name must be one that workers know."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.settings import configure
from viewcounter.maintenance import tasks as maintenance
from viewcounter.processing import tasks as processing
from viewcounter.processing.schedule import QUEUES, build_schedule

ROOT = Path(__file__).resolve().parents[3]
CHILD_SECONDS = 120
CONFIG = configure(move_interval_seconds=0.25, audit_interval_seconds=3600, control_backup_folder="/backups")
OF_REPORTS = {"audit", "audit_partition", "resume_recounts", "run_recount"}
QUEUED_BY_OTHERS = {"rollup", "sketch", "retain", "audit_partition", "run_recount"}


def list_tasks() -> set[str]:
    return {
        value.name
        for module in (maintenance, processing)
        for value in vars(module).values()
        if hasattr(value, "delay") and hasattr(value, "name")
    }


def test_each_task_is_sent_by_beat_or_queued_by_another_one():
    assert set(build_schedule(CONFIG)) | QUEUED_BY_OTHERS == list_tasks()


def run_with_celery(code: str, *arguments: str, state_dir: Path) -> "subprocess.CompletedProcess[str]":
    """In a process of its own: the Celery application begins a process group of metrics where it is imported."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | {"VIEWCOUNTER_STATE_DIR": str(state_dir)},
        capture_output=True,
        text=True,
        timeout=CHILD_SECONDS,
        check=False,
    )


def test_each_task_has_one_of_the_two_queues_that_every_worker_serves(tmp_path: Path):
    code = """
import json, sys
from viewcounter.celery import app
queues = {name: app.amqp.router.route({}, name)["queue"].name for name in json.loads(sys.argv[1])}
print(json.dumps([queues, sorted(app.amqp.queues)]))
"""
    child = run_with_celery(code, json.dumps(sorted(list_tasks())), state_dir=tmp_path)
    queues, served = json.loads(child.stdout)
    assert queues == {name: "reports" if name in OF_REPORTS else "maintenance" for name in list_tasks()}
    assert set(served) == set(QUEUES) == set(queues.values())


def test_an_entry_expires_before_the_next_and_never_at_once():
    schedule = build_schedule(CONFIG)
    task = "resume_abandoned_moves"
    assert schedule[task] == {"task": task, "schedule": 0.25, "options": {"expires": 1.0}}
    assert schedule["audit"]["options"] == {"expires": 3600}


def test_worker_that_cannot_load_its_tasks_ends(tmp_path: Path):
    code = """
import sys
sys.modules["viewcounter.processing.tasks"] = None
from celery.signals import worker_init
from viewcounter.celery import app
app.loader.init_worker()
worker_init.send(sender=app)
print("goes on")
"""
    child = run_with_celery(code, state_dir=tmp_path)
    assert (child.returncode, child.stdout) == (1, "")
    assert "the tasks cannot be loaded" in child.stderr
