"""The service registry, from the last heartbeats and their ages."""

from datetime import UTC, datetime

import msgspec

from configservice.registry.services import Service, ServiceKind, ServiceState, build_services

NOW_MS = 1_700_000_100_000


def describe(service_id: str, **fields) -> bytes:
    service = Service(
        id=service_id,
        kind=fields.pop("kind", ServiceKind.GATEWAY),
        host=fields.pop("host", "web1"),
        pid=fields.pop("pid", 1),
        version="1",
        zone="local",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        **fields,
    )
    return msgspec.json.encode(service)


def build(descriptions: dict[bytes, bytes], ages_seconds: dict[bytes, float]):
    beats = [(name, NOW_MS - age * 1000) for name, age in ages_seconds.items()]
    return build_services(beats, descriptions, now_ms=NOW_MS, lost_seconds=10.0)


def test_one_that_is_silent_for_longer_than_the_bound_is_lost_whatever_it_said_last():
    descriptions = {b"a": describe("a"), b"b": describe("b", pid=2, state=ServiceState.STOPPING)}
    (a, b) = build(descriptions, {b"a": 10.0, b"b": 10.001})
    assert (a.service.state, a.age_seconds) == (ServiceState.SERVING, 10.0)
    assert a.last_heartbeat_at == datetime.fromtimestamp(NOW_MS / 1000 - 10, UTC)
    assert (b.service.state, b.service.pid) == (ServiceState.LOST, 2)


def test_they_are_ordered_by_kind_host_and_pid():
    descriptions = {
        b"a": describe("a", kind=ServiceKind.WORKER),
        b"b": describe("b", host="web2"),
        b"c": describe("c", pid=10),
        b"d": describe("d", pid=9),
    }
    assert [r.service.id for r in build(descriptions, dict.fromkeys(descriptions, 1.0))] == ["d", "c", "b", "a"]


def test_what_another_release_wrote_and_what_has_no_description_is_left_out():
    descriptions = {b"a": describe("a"), b"b": b'{"kind": "robot"}'}
    assert [r.service.id for r in build(descriptions, {b"a": 1.0, b"b": 1.0, b"c": 1.0})] == ["a"]


def test_a_heartbeat_from_a_clock_ahead_is_never_of_a_negative_age():
    (service,) = build({b"a": describe("a")}, {b"a": -5.0})
    assert service.age_seconds == 0.0
