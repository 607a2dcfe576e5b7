-- Reading several things as of one moment.

-- name: read_bounds (maintenance)
-- What a transaction was opened with.
SELECT name, current_setting(name) AS setting
FROM unnest(ARRAY['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'application_name']) AS name

-- name: hold_raw_days (maintenance)
-- Before the snapshot is taken: no day is dropped while we compare with it. Flushes are not held up.
LOCK TABLE raw_event IN ACCESS SHARE MODE
