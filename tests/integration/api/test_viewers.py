"""Who watched, from the request to the raw row: a number there, nothing anywhere else."""

import json

from tests.integration.processing.draining import make_drainer
from tests.integration.queries.rows import await_replicas
from tests.unit.ingest.builders import WRITER, know_key, make_event, make_gateway, post
from viewcounter.apikeys.scopes import Scope
from viewcounter.eventlog.interface import START
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.events.partition import get_partition
from viewcounter.events.viewer import NO_VIEWER, ViewerDigest, derive_viewer_key

VIDEO = "XpVt6Z1Gjjo"
ADA, BOB = "ada@example.com", "bob/7"
VIEWER_KEY = "k" * 32


def test_a_viewer_reaches_the_raw_row_as_a_number_and_no_answer(api):
    log, partition = MemoryEventLog(), get_partition(VIDEO, partition_count=api.cluster.topology.partition_count)
    gateway = make_gateway(log, get_topology=lambda: api.cluster.topology, viewer_key=VIEWER_KEY)
    know_key(WRITER, Scope.EVENTS_WRITE)
    named, again, unnamed = (make_event(video_id=VIDEO, viewer_id=viewer_id) for viewer_id in (ADA, ADA, ...))
    events = [named, again, unnamed, {**named, "viewer_id": BOB}, named]
    assert post(gateway, json.dumps(events).encode()).json["accepted"] == len(events)
    [entry] = log.read(partition, after=START, max_entries=9)
    assert not any(name.encode() in entry.payload for name in (ADA, BOB))

    report = make_drainer(api.cluster, log).drain([partition])

    assert (report.counted, report.conflict, report.duplicate) == (3, 1, 1)
    ada = ViewerDigest(derive_viewer_key(VIEWER_KEY)).get_number(ADA)
    with api.cluster.transaction(partition) as connection:
        rows = connection.execute("SELECT event_id::text, viewer FROM raw_event").fetchall()
    assert {row["event_id"]: row["viewer"] for row in rows} == {
        named["event_id"]: ada,
        again["event_id"]: ada,
        unnamed["event_id"]: NO_VIEWER,
    }
    await_replicas(api.cluster)
    raw = api.get(f"/v1/events?video_id={VIDEO}&limit=10", "/v1/events")["events"]
    assert {frozenset(event) for event in raw} == {
        frozenset({"event_id", "event_type", "occurred_at", "received_at", "value"})
    }
