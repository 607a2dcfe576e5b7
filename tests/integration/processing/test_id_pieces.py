"""Ids that many flushes have left in small pieces become one piece, whatever the planner believes of the table."""

from datetime import UTC, datetime, timedelta

from shardproxy.query import QueryClass
from viewcounter.storage.id_pieces import merge_id_pieces

PARTITION, MINUTES, PIECES, IDS = 3, 8, 400, 10
FIRST = datetime(2026, 5, 1, 12, tzinfo=UTC)

FILL = """
INSERT INTO event_ids (partition, minute, position, ids, contents)
SELECT %s, %s + make_interval(mins => m), format('%%s-0', p), repeat(chr(97 + p %% 26), 16 * %s)::bytea,
    repeat(chr(97 + p %% 26), 8 * %s)::bytea
FROM generate_series(0, %s - 1) AS m, generate_series(1, %s) AS p
"""


def test_hundreds_of_pieces_a_minute_are_merged_within_the_time_of_a_flush(clean_cluster, shard_connection):
    shard_connection.execute("ANALYZE event_ids")  # of the empty table, as before the first autovacuum of a busy hour
    shard_connection.execute(FILL, [PARTITION, FIRST, IDS, IDS, MINUTES, PIECES])
    minutes = [int((FIRST + timedelta(minutes=m)).timestamp()) // 60 for m in range(MINUTES)]
    with clean_cluster.transaction(PARTITION, query_class=QueryClass.FLUSH) as connection:
        gone = merge_id_pieces(connection, PARTITION, minutes, epoch=1, small_ids=4096)
    assert gone == MINUTES * (PIECES - 1)
    rows = shard_connection.execute("SELECT * FROM event_ids ORDER BY minute").fetchall()
    whole = b"".join(bytes([97 + p % 26]) * 16 * IDS for p in range(1, PIECES + 1))
    assert [(row["position"], bytes(row["ids"])) for row in rows] == [(f"{PIECES}-0", whole)] * MINUTES
    for row in rows:
        assert row["part_positions"] == [f"{p}-0" for p in range(1, PIECES + 1)]
        assert row["part_sizes"] == [IDS] * PIECES
