"""The schedule of beat and the queues of tasks. Names tasks without importing them, so that beat loads none of them."""

from typing import Any

from viewcounter.config import Config

SHORTEST_EXPIRY_SECONDS = 1.0
MAINTENANCE = "maintenance"
"""Queue of the work that a cluster needs all the time. Every task is in it that `TASK_ROUTES` does not name."""
REPORTS = "reports"
"""Queue of work that takes long and that nobody waits for."""
QUEUES = (MAINTENANCE, REPORTS)
"""A worker takes tasks from both unless it is told otherwise (`celery worker -Q`)."""
TASK_ROUTES = {name: {"queue": REPORTS} for name in ("audit", "audit_partition", "resume_recounts", "run_recount")}


def build_schedule(config: Config) -> dict[str, dict[str, Any]]:
    """Celery's `beat_schedule`.

    Every entry expires before the next: a worker that was away finds one of each, not a queue of them.
    """
    return {
        name: {
            "task": name,
            "schedule": seconds,
            "options": {"expires": max(seconds, SHORTEST_EXPIRY_SECONDS)},
        }
        for name, seconds in _list_intervals(config).items()
    }


def _list_intervals(config: Config) -> dict[str, float]:
    """Seconds by the name of a task."""
    backups = {} if config.control_backup.folder is None else {"backup_control": config.control_backup.check_seconds}
    return backups | {
        "measure_lag": config.log.lag_interval_seconds,
        "measure_cluster": config.beat.cluster_interval_seconds,
        "count_dead_letters": config.dead_letters.interval_seconds,
        "trim_log": config.trim.interval_seconds,
        "sync_catalogue": config.catalogue.interval_seconds,
        "ensure_raw_days": config.retention.raw_days_interval_seconds,
        "audit": config.audit.interval_seconds,
        "resume_recounts": config.recount.interval_seconds,
        "dispatch_rollups": config.rollup.interval_seconds,
        "dispatch_sketches": config.sketch.interval_seconds,
        "dispatch_retention": config.retention.interval_seconds,
        "resume_abandoned_moves": config.move.interval_seconds,
        "measure_moves": config.beat.cluster_interval_seconds,
    }
