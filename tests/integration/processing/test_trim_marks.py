"""How long applied entries stay in the log, by the shard's clock alone."""

from datetime import timedelta

from viewcounter.storage.trim_marks import mark_applied

SAFETY_SECONDS = 80
AGED = "UPDATE trim_mark SET marked_at = marked_at - make_interval(secs => %s)"


def mark(connection, **positions):
    with connection.transaction():
        given = {int(name.removeprefix("p")): position for name, position in positions.items()}
        return mark_applied(connection, given, safety_seconds=SAFETY_SECONDS)


def test_a_position_may_be_trimmed_once_every_copy_had_applied_it_a_safety_time_ago(shard_connection):
    assert mark(shard_connection, p1="1-5", p2="1-9") == {}
    shard_connection.execute(AGED, [SAFETY_SECONDS / 2])
    assert mark(shard_connection, p1="1-7", p2="1-11") == {}
    shard_connection.execute(AGED, [SAFETY_SECONDS / 2])
    assert mark(shard_connection, p1="1-8", p2="1-12") == {1: "1-5", 2: "1-9"}
    assert mark(shard_connection, p2="1-12") == {2: "1-9"}
    shard_connection.execute(AGED, [SAFETY_SECONDS / 2])
    assert mark(shard_connection, p1="1-8", p2="1-13") == {1: "1-7", 2: "1-11"}


def test_marks_are_few_and_those_of_a_clock_that_was_ahead_are_forgotten(shard_connection):
    for _ in range(5):
        mark(shard_connection, p1="1-5")
    [rows] = shard_connection.execute("SELECT count(*) AS n FROM trim_mark").fetchall()
    assert rows["n"] == 1
    shard_connection.execute("UPDATE trim_mark SET marked_at = now() + %s", [timedelta(days=10)])
    assert mark(shard_connection, p1="1-6") == {}
    shard_connection.execute(AGED, [SAFETY_SECONDS])
    assert mark(shard_connection, p1="1-7") == {1: "1-6"}
