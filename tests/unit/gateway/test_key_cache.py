"""The cache of keys is bounded both ways, and refusals cannot push out keys."""

from viewcounter.gateway.key_cache import AuthenticatedKey, KeyCache

KEY = AuthenticatedKey("p", "n", frozenset())


def test_unknown_token_has_no_answer() -> None:
    assert KeyCache(max_keys=2).find(b"a") is None


def test_flood_of_refused_tokens_leaves_the_known_keys() -> None:
    cache = KeyCache(max_keys=2)
    cache.put(b"known", KEY, now=1.0)
    for number in range(100):
        cache.put(b"%d" % number, None, now=2.0)
    known = cache.find(b"known")
    assert known is not None
    assert (known.key, known.looked_up_at) == (KEY, 1.0)
    assert cache.find(b"97") is None
    assert cache.find(b"98") is not None


def test_oldest_look_up_leaves_first() -> None:
    cache = KeyCache(max_keys=2)
    for name, now in ((b"a", 1.0), (b"b", 2.0), (b"a", 3.0), (b"c", 4.0)):
        cache.put(name, KEY, now=now)
    assert [cache.find(name) is not None for name in (b"a", b"b", b"c")] == [True, False, True]


def test_later_answer_replaces_the_earlier_one_of_either_kind() -> None:
    cache = KeyCache(max_keys=2)
    cache.put(b"a", KEY, now=1.0)
    cache.put(b"a", None, now=2.0)
    refused = cache.find(b"a")
    assert refused is not None
    assert refused.key is None
    cache.put(b"a", KEY, now=3.0)
    valid = cache.find(b"a")
    assert valid is not None
    assert valid.key == KEY
