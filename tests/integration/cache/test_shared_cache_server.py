"""Two clusters on one cache server: what one keeps there, the other neither sees nor takes away."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from configservice.monitoring.witness_reports import WitnessReader, WitnessReport, publish_reports
from configservice.registry.services import Service, ServiceKind, put_heartbeat, read_services
from configservice.topology.cluster_cache import ClusterCache
from configservice.topology.value_macs import ValueAuthenticator
from runtime.metrics import REGISTRY
from tests.waiting import wait_until
from viewcounter.apikeys.shared_buckets import SharedBuckets, Take
from viewcounter.cache.macs import CacheValue, build_authenticator
from viewcounter.cache.memory import CacheEntry
from viewcounter.cache.shared import SharedCache
from viewcounter.config import get_config
from viewcounter.eventlog.lag_notice import LagNotice, SharedLagBoard
from viewcounter.ingest.idempotency import SharedResponseStore, StoredResponse

Ids = tuple[Callable[[], str], Callable[[], str]]


@pytest.fixture
def ids(servers) -> Ids:
    """Of two clusters that nobody else uses."""
    with servers.valkey("broker").connect(database=1) as client:
        for key in client.scan_iter("*of-two-*"):
            client.delete(key)
    return lambda: "of-two-one", lambda: "of-two-other"


def get_url() -> str:
    return get_config().cache.url.get_secret_value()


def make_lag_board(get_id, authenticator=None) -> SharedLagBoard:
    return SharedLagBoard(
        get_url(),
        get_cluster_id=get_id,
        authenticator=authenticator or build_authenticator(CacheValue.LAG),
        timeout_seconds=1.0,
        keep_seconds=30.0,
    )


def make_cache(get_id, authenticator=None) -> SharedCache:
    return SharedCache(
        get_url(),
        get_cluster_id=get_id,
        authenticator=authenticator or build_authenticator(CacheValue.ANSWER),
        timeout_seconds=1.0,
        open_seconds=0.1,
        max_connections=1,
        keep_seconds=30.0,
    )


def make_forger(kind: CacheValue) -> ValueAuthenticator:
    """Of somebody who may write to the cache and has all but the secret."""
    return ValueAuthenticator("another secret" * 4, kind=kind.value)


def count_refused(kind: CacheValue) -> float:
    return REGISTRY.get_sample_value("viewcounter_cache_values_refused_total", {"kind": kind.value}) or 0.0


def test_services_and_witnesses_of_two_clusters_do_not_meet(ids: Ids):
    one, other = (ClusterCache(get_url(), get_id()) for get_id in ids)
    service = Service("a", ServiceKind.WORKER, "host", 7, "1", "local", datetime(2026, 1, 1, tzinfo=UTC))
    put_heartbeat(one, service, forget_seconds=60.0)
    authenticator = build_authenticator(CacheValue.WITNESS)
    publish_reports(
        one, "host:7", [WitnessReport("shard1a", "10.0.0.1", 5432, False, 0.0)], authenticator=authenticator
    )
    assert [len(read_services(part, lost_seconds=10.0)) for part in (one, other)] == [1, 0]
    assert [len(WitnessReader(authenticator).read(part)) for part in (one, other)] == [1, 0]


def test_the_lag_of_one_cluster_sheds_nothing_of_another(ids: Ids):
    one, other = (make_lag_board(get_id) for get_id in ids)
    one.write(LagNotice(10**9, 1.0))
    assert (one.read(), other.read()) == (LagNotice(10**9, 1.0), None)


def test_limits_and_idempotency_keys_of_two_clusters_do_not_meet(ids: Ids):
    one, other = (SharedBuckets(get_url(), get_cluster_id=get_id, timeout_seconds=1.0) for get_id in ids)
    assert one.take([Take("key", 0.001, 10, 4)]) == [pytest.approx(6, abs=0.01)]
    assert other.take([Take("key", 0.001, 10, 4)]) == [pytest.approx(6, abs=0.01)]

    async def claim() -> list[StoredResponse | None]:
        bounds = {"timeout_seconds": 1.0, "open_seconds": 0.1, "claim_seconds": 30, "keep_seconds": 30}
        authenticator = build_authenticator(CacheValue.IDEMPOTENCY)
        answers = [
            SharedResponseStore(
                get_url(), get_cluster_id=get_id, authenticator=authenticator, max_connections=1, **bounds
            )
            for get_id in ids
        ]
        await answers[0].store("key", StoredResponse(b"digest", b"answer"))
        found = [await part.claim("key", StoredResponse(b"digest")) for part in answers]
        for part in answers:
            await part.close()
        return found

    assert asyncio.run(claim()) == [StoredResponse(b"digest", b"answer"), None]


def test_answers_of_two_clusters_do_not_meet(ids: Ids):
    one, other = (make_cache(get_id) for get_id in ids)
    stored = CacheEntry(1.0, None, b"rows")
    one.store({"question": stored})
    wait_until(lambda: one.find(["question"]) == {"question": stored})
    assert other.find(["question"]) == {}
    one.close()
    other.close()


def test_a_forged_note_of_lag_sheds_nothing_and_is_counted(ids: Ids):
    get_id, _ = ids
    before, board = count_refused(CacheValue.LAG), make_lag_board(get_id)
    make_lag_board(get_id, make_forger(CacheValue.LAG)).write(LagNotice(10**9, 10**6))
    assert (board.read(), count_refused(CacheValue.LAG)) == (None, before + 1)
    board.write(LagNotice(7, 1.0))
    assert board.read() == LagNotice(7, 1.0)


def test_a_forged_answer_reaches_no_reader(ids: Ids):
    get_id, _ = ids
    forger, cache = make_cache(get_id, make_forger(CacheValue.ANSWER)), make_cache(get_id)
    forger.store({"question": CacheEntry(1.0, None, b"forged")})
    wait_until(lambda: forger.find(["question"]) != {})
    assert cache.find(["question"]) == {}
    forger.close()
    cache.close()
