-- Which log's entries the rows of partitions take, and what a log has lost; see storage/log_sessions.py.

-- name: adopt_log_session (flush)
-- Waits for flushes that hold the rows: one that was read in an earlier session has committed, or changes nothing.
WITH earlier AS (
    SELECT partition FROM partition_state
    WHERE partition = ANY(%(partitions)s::smallint[]) AND log_term <= %(term)s AND log_session <> %(session)s
    ORDER BY partition FOR NO KEY UPDATE
)
UPDATE partition_state AS s SET log_term = %(term)s, log_session = %(session)s
FROM earlier WHERE s.partition = earlier.partition

-- name: adopt_log_session_of_free_rows (flush)
-- A row that another transaction holds is left for the next time: no other partition waits for it.
WITH earlier AS (
    SELECT partition FROM partition_state
    WHERE partition = ANY(%(partitions)s::smallint[]) AND log_term <= %(term)s AND log_session <> %(session)s
    ORDER BY partition FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE partition_state AS s SET log_term = %(term)s, log_session = %(session)s
FROM earlier WHERE s.partition = earlier.partition

-- name: raise_log_term (flush)
-- No entry is taken of any log until a session of this term is adopted.
WITH earlier AS (
    SELECT partition FROM partition_state
    WHERE partition = ANY(%(partitions)s::smallint[]) AND log_term < %(term)s
    ORDER BY partition FOR NO KEY UPDATE
)
UPDATE partition_state AS s SET log_term = %(term)s, log_session = ''
FROM earlier WHERE s.partition = earlier.partition

-- name: insert_log_losses (flush)
INSERT INTO log_loss (partition, after_position, through_position, reason, detail)
SELECT * FROM unnest(
    %(partitions)s::smallint[], %(after)s::text[], %(through)s::text[], %(reasons)s::text[], %(details)s::text[]
)

-- name: read_log_losses (point)
SELECT id, partition, after_position, through_position, reason, detail, found_at, closed_at, closed_by, close_reason
FROM log_loss WHERE partition = ANY(%(partitions)s::smallint[]) ORDER BY id
