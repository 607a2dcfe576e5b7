-- Day partitions of raw_event.

-- name: list_raw_days (maintenance)
SELECT c.relname AS name FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'raw_event'::regclass ORDER BY 1
