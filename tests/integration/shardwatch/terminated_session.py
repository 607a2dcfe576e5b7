"""One session that a shard proxy has ended."""

from datetime import UTC, datetime, timedelta

from shardproxy.session_reaper import TerminatedSession

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TERMINATED = TerminatedSession(
    instance="shard1a", at=NOW, action="cancel", reason="running", session_class="foreign", age_seconds=21.0,
    budget_seconds=20.0, pid=7, backend_start=NOW - timedelta(hours=1), since=NOW - timedelta(seconds=21), user="bi",
    application="metabase", client_address="10.0.0.9", fingerprint="-42", statement="SELECT ?",
)  # fmt: skip
