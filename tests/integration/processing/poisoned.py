"""Drains that meet events which no shard can store: forced past the edge by packing entries by hand."""

from datetime import UTC, datetime, timedelta

from clusterproxy.plan import Consistency
from shardproxy.query import Query, QueryClass
from tests.unit.processing.builders import uuid4_of
from viewcounter.deadletters.replay import ReplayRules, list_dead_letters
from viewcounter.eventlog.codec import AcceptedEvent, pack_entry
from viewcounter.processing.drain import Drainer
from viewcounter.processing.isolation import PoisonIsolator
from viewcounter.processing.known_ids import IdCache
from viewcounter.processing.settings import DrainSettings, FlushLimits, IsolationSettings, PieceLimits
from viewcounter.storage.dead_letters import DeadLetterFilter
from viewcounter.storage.settings import DeadLetterLimits

NOW = datetime.now(UTC).replace(second=30, microsecond=0)
NOW_US = int(NOW.timestamp()) * 1_000_000
PARTITION = 3
LIMITS = DeadLetterLimits(run_max=20, ratio_max=0.1, ratio_min_events=100, window_seconds=3600.0)


def make_drainer(cluster, log, *, limits=LIMITS, max_seconds=20.0, max_trials=2000, flush_max_events=50_000, **parts):
    settings = IsolationSettings(max_seconds=max_seconds, max_trials=max_trials)
    return Drainer(
        cluster=cluster,
        log=log,
        ids=IdCache(max_bytes=10_000_000),
        poison=PoisonIsolator(cluster=cluster, settings=settings, limits=limits),
        settings=DrainSettings(
            budget_seconds=60.0,
            flush=FlushLimits(max_events=flush_max_events, max_bytes=10**8, max_keys=10**6, max_seconds=60.0),
            flush_max_conflicts=5,
            id_pieces=PieceLimits(max_pieces=64, small_ids=4096),
            max_queued_batches=1,
            log_read_entries=500,
            dead_letters=limits,
        ),
        **parts,
    )


def event(number, video="good", *, type_id=1, value=1000, minutes_ago=0):
    """Its viewer is known by the number of the event, with a minus."""
    occurred_us = NOW_US - minutes_ago * 60_000_000
    return AcceptedEvent(uuid4_of(number).bytes, video, type_id, occurred_us, value, -number)


def poison(number):
    """PostgreSQL's text holds no NUL."""
    return event(number, f"b\0d{number}")


def append(log, *events, partition=PARTITION):
    return str(log.append({partition: pack_entry(events, received_us=NOW_US)}).positions[partition])


def query(cluster, text, partition=PARTITION):
    """Rows of one statement on the partition's primary; `%(p)s` is the partition."""
    return cluster.read(
        partition, Query("test", text, QueryClass.REPORT), {"p": partition}, consistency=Consistency.STRONG
    ).rows


def read_total(cluster, video="good"):
    rows = query(cluster, "SELECT video_id, count, sum FROM event_total WHERE partition = %(p)s")
    return {row["video_id"]: (row["count"], row["sum"]) for row in rows}.get(video, (0, 0))


def read_ledger(cluster):
    """(received, counted, duplicate, conflict, dead_lettered) over all hours."""
    rows = query(
        cluster,
        "SELECT sum(received)::int AS received, sum(counted)::int AS counted, sum(duplicate)::int AS duplicate,"
        " sum(conflict)::int AS conflict, sum(dead_lettered)::int AS dead FROM ledger WHERE partition = %(p)s",
    )
    return tuple(rows[0].values())


def read_letters(cluster):
    return query(cluster, "SELECT * FROM dead_letter WHERE partition = %(p)s ORDER BY id")


def read_state(cluster):
    return query(cluster, "SELECT * FROM partition_state WHERE partition = %(p)s")[0]


def get_rules(cluster, *, now=NOW + timedelta(seconds=40)):
    return ReplayRules(topology=cluster.topology, now=now, accept_window_seconds=7 * 86_400)


def bury(cluster, log, *events, partition=PARTITION):
    """Drain these and a good one. Ids of the partition's dead letters, newest first."""
    append(log, *events, event(9999), partition=partition)
    make_drainer(cluster, log).drain([partition])
    wanted = DeadLetterFilter(partition=partition)
    return [found.id for found in list_dead_letters(cluster, wanted, before=None, limit=500).items]


def too_large(number, **options):
    """Refused as long as the video's sum stands near the end of 64 bits."""
    return event(number, "full", value=4000, **options)


def fill(cluster, *, to):
    """Stand in for what a recount would correct: the sum that made events be refused."""
    with cluster.transaction(PARTITION) as connection:
        connection.execute("INSERT INTO video (video_id, partition) VALUES ('full', 3) ON CONFLICT DO NOTHING")
        connection.execute("INSERT INTO event_type (id, name) VALUES (1, 'view') ON CONFLICT DO NOTHING")
        connection.execute(
            "INSERT INTO event_total VALUES (3, 'full', 1, 0, %s, 0, 0)"
            " ON CONFLICT (partition, video_id, event_type_id) DO UPDATE SET sum = excluded.sum, count = 0",
            [to],
        )
