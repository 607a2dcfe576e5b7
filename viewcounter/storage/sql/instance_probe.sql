-- How one instance stands: one row, from any of them.

-- name: probe_instance (point)
-- An idle primary sends no transactions, so the age of the last one says nothing while everything received has been
-- replayed and the stream is up. Reads set their session read-only, so the server's own mind is its `reset_val`.
-- Without pg_monitor the names of standbys are NULL, and nothing is known of them.
SELECT pg_is_in_recovery() AS in_recovery,
    (SELECT reset_val = 'on' FROM pg_settings WHERE name = 'default_transaction_read_only') AS is_read_only,
    CASE WHEN NOT pg_is_in_recovery() THEN 0
         WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
         ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())
    END::float8 AS lag_seconds,
    EXISTS (SELECT FROM pg_stat_wal_receiver) AS is_receiving,
    (SELECT name FROM django_migrations WHERE app = 'storage' ORDER BY id DESC LIMIT 1) AS schema_version,
    current_setting('synchronous_standby_names') AS synchronous_setting,
    ARRAY(
        SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')
    ) AS synchronous,
    (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - query_start)), 0)::float8
        FROM pg_stat_activity WHERE wait_event = 'SyncRep') AS oldest_wait_seconds,
    (SELECT coalesce(extract(epoch FROM now() - max(trusted_at)), 0)::float8 FROM deletion_clock) AS deletion_behind_seconds,
    (SELECT count(*) FROM log_loss AS l JOIN partition_state AS s USING (partition)
        WHERE l.closed_at IS NULL AND s.state NOT IN ('incoming', 'moved')) AS open_losses
