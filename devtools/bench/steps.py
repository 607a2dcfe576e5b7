"""The parts of a benchmark that run inside the service, each in a process of its own: `manage.py bench_step`.

Each communicates with the orchestrator by JSON lines: results on stdout, work on stdin.
"""

import json
import resource
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg

from configservice.topology.model import Topology
from devtools.bench.attacks import PAGE_ORIGIN, Attack, AttackTarget, prepare_attack, run_attack
from devtools.bench.peer_floor import Floor
from devtools.bench.peer_site import DATABASE
from devtools.bench.peers_part import BATCH, IN_BATCHES
from devtools.bench.statements import record_flush, run_statements
from devtools.bench.workload import generate_commits
from shardproxy.passwords import read_password
from viewcounter.apikeys.keys import create_key
from viewcounter.apikeys.scopes import KeyKind, Scope
from viewcounter.cluster import get_cluster
from viewcounter.config import get_config
from viewcounter.eventlog.codec import get_event_count
from viewcounter.eventlog.interface import START
from viewcounter.eventlog.registry import get_event_log
from viewcounter.processing.batch import PreparedBatch, prepare_batch
from viewcounter.processing.consumer import LogConsumer
from viewcounter.processing.deduplication import NONE_KNOWN, KnownIds
from viewcounter.processing.worker import build_drainer
from viewcounter.storage.flush_batch import IdBlock
from viewcounter.storage.partitions import READ_STATES, get_states

COMMITS_A_REPORT = 50
READ_ENTRIES = 2000


def fill(event_count: int, *, seed: int) -> None:
    """Append the workload to the log and print the progress."""
    log, topology = get_event_log(), get_cluster().topology
    now_us = time.time_ns() // 1000
    appended = 0
    commits = generate_commits(
        event_count=event_count, partition_count=topology.partition_count, until_us=now_us, seed=seed
    )
    for number, commit in enumerate(commits, start=1):
        failed = log.append(commit.entries).failed
        if failed:
            raise next(iter(failed.values()))
        appended += commit.event_count
        if number % COMMITS_A_REPORT == 0:
            _say(appended=appended)
    _say(appended=appended)


def drain() -> None:
    """Drain each partition named on stdin, one in each line, as a pool process of a worker does."""
    config = get_config()
    drainer = build_drainer(config, id_cache_bytes=config.drain.id_cache_max_bytes)
    for shard in get_cluster().topology.shards:
        with get_cluster().shard_transaction(shard.id) as connection:
            connection.execute("SELECT 1")
    started = _get_cpu_seconds()
    _say(ready=True)
    for line in sys.stdin:
        partition, caught_up, counted, flushes = int(line), False, 0, 0
        while not caught_up:
            report = drainer.drain([partition])
            caught_up = report.caught_up
            counted += report.counted
            flushes += report.flush_count
        _say(partition=partition, counted=counted, flushes=flushes)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _say(cpu_seconds=_get_cpu_seconds() - started, peak_rss_bytes=usage.ru_maxrss * 1024)


def floor() -> None:
    """Send the same statements in sequence on one connection at a time, with prepared parameters, to empty shards."""
    cluster, limits = get_cluster(), get_config().drain.dead_letters
    seconds, cpu_seconds, event_count, flush_count = 0.0, 0.0, 0, 0
    for partition in range(cluster.topology.partition_count):
        flushes = [
            (len(prepared.batch.counted), record_flush(prepared.batch, limits=limits))
            for prepared in _prepare_partition(partition)
        ]
        started_at, cpu_before = time.perf_counter(), _get_cpu_seconds()
        for size, statements in flushes:
            with cluster.transaction(partition) as connection:
                run_statements(connection, statements)
            event_count += size
            flush_count += 1
        seconds += time.perf_counter() - started_at
        cpu_seconds += _get_cpu_seconds() - cpu_before
        _say(done=event_count)
    _say(seconds=seconds, cpu_seconds=cpu_seconds, event_count=event_count, flush_count=flush_count)


def store_bare(shard_name: str, *, seconds: float) -> None:
    """After a line on stdin, commit batches on the primary of this shard by one connection without the service."""
    shards = get_cluster().topology.shards
    primary = next(shard.primary for shard in shards if shard.name == shard_name and shard.primary)
    connection = psycopg.connect(
        host=primary.host,
        port=primary.port,
        dbname=DATABASE,
        user=primary.user,
        password=read_password(primary.password_ref, get_config().pool.password_refs),
        autocommit=True,
    )
    stream, event_count = IN_BATCHES.open_stream(), 0
    with closing(Floor(connection)) as floor:
        _say(ready=True)
        sys.stdin.readline()
        while floor.seconds < seconds:
            floor.store(stream, batch_size=BATCH)
            event_count += BATCH
        _say(event_count=event_count, seconds=floor.seconds, cpu_seconds=floor.cpu_seconds)


def make_key() -> None:
    """Print the token of a new API key that may read and write."""
    _, token = create_key("bench", [Scope.STATS_READ, Scope.EVENTS_WRITE])
    _say(token=token)


def count_log() -> None:
    """Print the number of events in the log, from every entry."""
    log, found = get_event_log(), 0
    for partition in range(get_cluster().topology.partition_count):
        after = START
        while entries := log.read(partition, after=after, max_entries=READ_ENTRIES):
            found += sum(get_event_count(entry.payload) for entry in entries)
            after = entries[-1].position
    _say(events=found)


def make_public_key() -> None:
    _say(token=create_key("bench page", [Scope.EVENTS_WRITE], kind=KeyKind.PUBLIC, allowed_origins=[PAGE_ORIGIN])[1])


def attack(kind: Attack, *, host: str, port: int, connections: int, seconds: float) -> None:
    """Attack with the keys named on stdin: a secret one, and the public one of a page."""
    token, public_token = sys.stdin.readline().strip(), sys.stdin.readline().strip()
    target = AttackTarget(host, port, token=token, public_token=public_token)
    prepare_attack(kind)
    _say(begun=True)
    outcomes = run_attack(kind, target, connections=connections, seconds=seconds)
    _say(outcomes=dict(outcomes))


class _NothingKnown:
    """The ids of the workload are distinct."""

    def get(self, minutes: Collection[int]) -> dict[int, KnownIds]:
        return dict.fromkeys(minutes, NONE_KNOWN)

    def add(self, blocks: Sequence[IdBlock]) -> None:
        """Ignored."""


def _prepare_partition(partition: int) -> Iterator[PreparedBatch]:
    """The batches that a drain would make."""
    cluster, settings = get_cluster(), get_config().drain
    topology: Topology = cluster.topology
    rows = cluster.read(partition, READ_STATES, {"partitions": [partition]}).rows
    state = get_states(rows)[partition]
    consumer = LogConsumer(
        get_event_log(), {partition: START}, limits=settings.flush, max_read_entries=settings.log_read_entries
    )
    while part := consumer.read_chunk().parts.get(partition):
        prepared = prepare_batch(
            part.decoded,
            partition=partition,
            state=state,
            event_types={t.id: t for t in topology.event_types},
            known=_NothingKnown(),
            max_conflicts=0,
            complete_at=part.complete_at,
        )
        yield prepared
        state = replace(state, position=prepared.batch.new_position)


def _get_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
