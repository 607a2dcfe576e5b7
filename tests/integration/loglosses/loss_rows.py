"""Rows of what the event log has lost."""


def write_loss(cluster, partition, after, through, *, outcome=""):
    """A loss that the reader of the log has found; `outcome`: and an operator has closed."""
    values = [partition, after, through, outcome, outcome]
    with cluster.transaction(partition) as connection:
        connection.execute(
            "INSERT INTO log_loss (partition, after_position, through_position, reason, outcome, closed_at)"
            " VALUES (%s, %s, %s, 'missing', %s, CASE WHEN %s = '' THEN NULL ELSE now() END)",
            values,
        )
