-- What operators see and do about entries that the event log has lost.

-- name: list_log_losses (report)
-- Newest first; see storage/page_keys.py. Of partitions that are here.
SELECT l.id, l.partition, l.after_position, l.through_position, l.reason, l.detail, l.found_at, l.closed_at, l.closed_by,
    l.close_reason, l.outcome
FROM log_loss AS l JOIN partition_state AS s ON s.partition = l.partition AND s.state NOT IN ('incoming', 'moved')
WHERE l.partition = ANY(%(partitions)s) AND (NOT %(only_open)s OR l.closed_at IS NULL)
    AND (
        %(before_at)s::timestamptz IS NULL
        OR (l.found_at, l.partition, l.id) < (%(before_at)s, %(before_partition)s::smallint, %(before_id)s::bigint)
    )
ORDER BY l.found_at DESC, l.partition DESC, l.id DESC
LIMIT %(limit)s

-- name: lock_partitions_to_close (maintenance)
-- Of the partitions given, those that are here. The row that a loss is closed in carries its ranges, so it is locked to be
-- changed.
SELECT partition, position FROM partition_state
WHERE partition = ANY(%(partitions)s::smallint[]) AND state NOT IN ('incoming', 'moved')
ORDER BY partition FOR NO KEY UPDATE

-- name: close_log_losses (maintenance)
-- A loss that was accepted may turn out to be salvaged.
UPDATE log_loss AS l
SET closed_at = now(), closed_by = %(actor)s, close_reason = %(reason)s, outcome = %(outcome)s
FROM unnest(%(partitions)s::smallint[], %(ids)s::bigint[]) AS u (partition, id)
WHERE l.partition = u.partition AND l.id = u.id
    AND (l.closed_at IS NULL OR (%(outcome)s = 'salvaged' AND l.outcome = 'accepted'))
RETURNING l.partition, l.id

-- name: insert_rest_of_loss (maintenance)
-- What a salvage did not find. It has the time and the reason of the loss, and is open again.
INSERT INTO log_loss (partition, after_position, through_position, reason, detail, found_at)
SELECT l.partition, %(after)s, %(through)s, l.reason, %(detail)s, l.found_at
FROM log_loss AS l WHERE l.partition = %(partition)s AND l.id = %(id)s
