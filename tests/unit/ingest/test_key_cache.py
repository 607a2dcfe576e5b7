"""The cache of keys is bounded both ways, and refusals cannot push out keys."""

from datetime import UTC, datetime, timedelta

from viewcounter.apikeys.authentication import KeyCache
from viewcounter.apikeys.scopes import AuthenticatedKey

KEY = AuthenticatedKey("p", "n", frozenset())


def test_unknown_token_has_no_answer() -> None:
    assert KeyCache(max_keys=2).find(b"a") is None


def test_flood_of_refused_tokens_leaves_the_known_keys() -> None:
    cache = KeyCache(max_keys=2)
    cache.confirm(b"known", KEY, now=1.0)
    for number in range(100):
        cache.confirm(b"%d" % number, None, now=2.0)
    known = cache.find(b"known")
    assert known is not None
    assert (known.key, known.confirmed_at) == (KEY, 1.0)
    assert cache.find(b"97") is None
    assert cache.find(b"98") is not None


def test_least_recently_confirmed_key_leaves_first() -> None:
    cache = KeyCache(max_keys=2)
    for name, now in ((b"a", 1.0), (b"b", 2.0), (b"a", 3.0), (b"c", 4.0)):
        cache.confirm(name, KEY, now=now)
    assert [cache.find(name) is not None for name in (b"a", b"b", b"c")] == [True, False, True]


def test_later_answer_replaces_the_earlier_one_of_either_kind() -> None:
    cache = KeyCache(max_keys=2)
    cache.confirm(b"a", KEY, now=1.0)
    cache.confirm(b"a", None, now=2.0)
    refused = cache.find(b"a")
    assert refused is not None
    assert refused.key is None
    cache.confirm(b"a", KEY, now=3.0)
    valid = cache.find(b"a")
    assert valid is not None
    assert valid.key == KEY


def test_asking_in_vain_makes_an_answer_neither_younger_nor_different() -> None:
    cache = KeyCache(max_keys=2)
    cache.record_asked(b"a", cache.confirm(b"a", KEY, now=1.0), now=9.0)
    answer = cache.find(b"a")
    assert answer is not None
    assert (answer.key, answer.confirmed_at, answer.asked_at) == (KEY, 1.0, 9.0)


def test_key_is_valid_however_old_its_confirmation_until_it_expires() -> None:
    cache = KeyCache(max_keys=2)
    expired = AuthenticatedKey("e", "n", frozenset(), expires_at=datetime.now(UTC) - timedelta(seconds=1))
    cache.confirm(b"refused", None, now=10.0)
    cache.confirm(b"expired", expired, now=10.0)
    assert not cache.has_valid_key()
    cache.confirm(b"a", KEY, now=-1e9)
    assert cache.has_valid_key()
