"""The statement that probes the health of one database instance."""

from viewcounter.storage.named_sql import load_queries

PROBE_INSTANCE = load_queries("instance_probe.sql")["probe_instance"]
"""No parameters. One row: in_recovery, is_read_only, lag_seconds, is_receiving, schema_version, synchronous_setting,
synchronous, oldest_wait_seconds, deletion_behind_seconds, open_losses."""
