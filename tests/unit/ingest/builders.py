"""Requests, keys, topologies and faulty logs for tests of the endpoint."""

import asyncio
import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from configservice.topology.event_types import DEFAULT_EVENT_TYPES
from configservice.topology.model import Assignment, Topology
from tests.settings import configure
from viewcounter.apikeys.authentication import get_key_cache
from viewcounter.apikeys.scopes import AuthenticatedKey, Scope
from viewcounter.config import Config
from viewcounter.eventlog.codec import unpack_entry
from viewcounter.eventlog.errors import EventLogError
from viewcounter.eventlog.interface import START, AppendResult, EventLog
from viewcounter.eventlog.memory import MemoryEventLog
from viewcounter.web.application import Gateway

PARTITION_COUNT = 8
TOPOLOGY = Topology(
    epoch=1, shards=(), assignments=(Assignment(1, 1),) * PARTITION_COUNT, event_types=DEFAULT_EVENT_TYPES
)
WRITER = "vc_" + "a" * 12 + "_" + "w" * 43
READER = "vc_" + "b" * 12 + "_" + "r" * 43
PAGE = "vcp_" + "c" * 12 + "_" + "p" * 43


def make_event(**changes: Any) -> dict[str, Any]:
    """A valid view of now; a change to `...` takes the field away."""
    event = {
        "event_id": str(uuid.uuid4()),
        "video_id": "dQw4w9WgXcQ",
        "event_type": "view",
        "occurred_at": datetime.now(UTC).isoformat(),
        **changes,
    }
    return {name: value for name, value in event.items() if value is not ...}


def make_uuid7(at: datetime) -> str:
    ms = int(at.timestamp() * 1000)
    return str(uuid.UUID(int=(ms << 80) | (7 << 76) | (0b10 << 62) | 12345))


def ago(**delta: float) -> datetime:
    return datetime.now(UTC) - timedelta(**delta)


def know_key(
    token: str,
    *scopes: Scope,
    expires_at: datetime | None = None,
    age_seconds: float = 0.0,
    origins: tuple[str, ...] = (),
) -> None:
    """As if the control database had been asked `age_seconds` ago. Public if it has origins."""
    prefix = token.split("_")[1]
    key = AuthenticatedKey(
        prefix, "test", frozenset(scopes), expires_at, is_public=bool(origins), allowed_origins=frozenset(origins)
    )
    get_key_cache().confirm(hashlib.sha256(token.encode()).digest(), key, now=time.monotonic() - age_seconds)


class FaultyLog(MemoryEventLog):
    """Refuses the partitions in `failing` with the error given there; `gate`, while clear, holds every append.

    `begun_count`: appends that have come as far as the gate.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failing: dict[int, EventLogError] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.begun_count = 0
        self.append_sizes: list[int] = []

    def append(self, entries: Mapping[int, bytes]) -> AppendResult:
        self.begun_count += 1
        self.gate.wait(timeout=10)
        self.append_sizes.append(sum(len(unpack_entry(payload)) for payload in entries.values()))
        failed = {p: self.failing[p] for p in entries if p in self.failing}
        stored = super().append({p: payload for p, payload in entries.items() if p not in failed})
        return AppendResult(stored.positions, failed)


def read_event_ids(log: EventLog, partitions: Iterable[int] = range(PARTITION_COUNT)) -> list[str]:
    """Every event id in the log, in the order of each partition."""
    ids = []
    for partition in partitions:
        for entry in log.read(partition, after=START, max_entries=100_000):
            raw = unpack_entry(entry.payload).event_ids.tobytes()
            ids += [str(uuid.UUID(bytes=raw[i : i + 16])) for i in range(0, len(raw), 16)]
    return ids


@dataclass
class Response:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def make_gateway(
    log: EventLog,
    *,
    get_topology: Callable[[], Topology] = lambda: TOPOLOGY,
    parts: Mapping[str, Any] | None = None,
    config: Config | None = None,
    **settings: Any,
) -> Gateway:
    """`parts`: what the gateway is made with besides. `config` replaces that of `settings`."""
    config = config or configure(**{"commit_linger_ms": 0.0, **settings})
    return Gateway(_refuse_everything, config=config, get_log=lambda: log, get_topology=get_topology, **(parts or {}))


async def _refuse_everything(_scope: Any, _receive: Any, _send: Any) -> None:
    raise AssertionError("the request went past the endpoint")


async def send(
    gateway: Gateway,
    body: bytes | list[bytes],
    *,
    token: str | None = WRITER,
    method: str = "POST",
    content_type: str | None = "application/json",
    headers: Mapping[str, str] | None = None,
    disconnects: bool = False,
    query: str = "",
    scheme: str = "http",
    client: str = "192.0.2.1",
) -> Response:
    """One request as uvicorn would pass it on; a list is sent chunk by chunk, `disconnects` after the last one."""
    chunks = [body] if isinstance(body, bytes) else body
    lines = {"host": "localhost", **(headers or {})}
    if content_type is not None:
        lines["content-type"] = content_type
    if token is not None:
        lines["authorization"] = f"Bearer {token}"
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if disconnects:
        messages.append({"type": "http.disconnect"})
    elif messages:
        messages[-1]["more_body"] = False
    response = Response()

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        return await asyncio.get_running_loop().create_future()  # a client that sends no more and does not leave

    async def respond(message: Any) -> None:
        if message["type"] == "http.response.start":
            response.status = message["status"]
            response.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            response.body += message["body"]

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in lines.items()]
    address = {"path": "/v1/events", "query_string": query.encode()}
    scope = {"type": "http", "method": method, "scheme": scheme, "client": (client, 1), "headers": raw, **address}
    await gateway(scope, receive, respond)
    return response


def post(gateway: Gateway, body: bytes | list[bytes], **options: Any) -> Response:
    return asyncio.run(send(gateway, body, **options))
