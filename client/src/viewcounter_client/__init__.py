"""Send events to viewcounter and query its counts.

    with Client("https://counter.example", api_key) as client:
        client.track("view", video_id="XpVt6Z1Gjjo")
        answer = client.query(queries.counts("XpVt6Z1Gjjo"), after_flush=True)

`track` never waits for the network or a disk. Events are sent in batches, and again under the same ids until the
service has answered for each; the service counts an id once. Needs only an HTTP library; never imports the service.
"""

from viewcounter_client import queries
from viewcounter_client.aio import AsyncClient
from viewcounter_client.client import Client
from viewcounter_client.delivery import Counters
from viewcounter_client.errors import (
    BufferFull,
    ClientClosed,
    EventsLost,
    InvalidEvent,
    RequestRefused,
    ServiceUnavailable,
    SpoolInUse,
    ViewcounterError,
)
from viewcounter_client.options import Options, Overflow
from viewcounter_client.verdict import Refusal, Rejection

__all__ = [
    "AsyncClient",
    "BufferFull",
    "Client",
    "ClientClosed",
    "Counters",
    "EventsLost",
    "InvalidEvent",
    "Options",
    "Overflow",
    "Refusal",
    "Rejection",
    "RequestRefused",
    "ServiceUnavailable",
    "SpoolInUse",
    "ViewcounterError",
    "queries",
]
