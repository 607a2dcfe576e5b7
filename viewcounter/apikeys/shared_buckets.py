"""Token buckets shared by all processes, in the cache server: processes report their takes and read the tokens left.

The refill is computed by the server's clock in one script, so that no two hosts' clocks are compared. An unused bucket
expires when it would be full again.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from configservice.errors import ClusterUnknown
from configservice.topology.cache_keys import format_cache_key
from runtime.errors import Retryable
from runtime.valkey import ValkeyError, build_client

_TAKE = """#!lua
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local rate, burst, taken = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local state = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = burst
if state[1] then tokens = math.min(burst, state[1] + math.max(0, now - state[2]) * rate) end
tokens = tokens - taken
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
redis.call('PEXPIRE', KEYS[1], math.ceil((burst - tokens) / rate * 1000) + 1000)
return tostring(tokens)
"""


class BucketsUnavailable(Exception, Retryable):
    """The cache server does not answer, or the process does not know its cluster yet. Meanwhile each process
    limits by its own takes."""


class Take(NamedTuple):
    """`taken` tokens since the last time, of a bucket with these bounds."""

    name: str
    per_second: float
    burst: float
    taken: int


class SharedBuckets:
    """Thread-safe. Every call is bounded by the timeout; nothing is retried."""

    def __init__(self, url: str, *, get_cluster_id: Callable[[], str], timeout_seconds: float) -> None:
        self._get_cluster_id = get_cluster_id
        self._redis = build_client(url, timeout_seconds=timeout_seconds)

    def take(self, takes: Sequence[Take]) -> list[float]:
        """Tokens left in each bucket, in the order of `takes`; negative for a debt. Raises BucketsUnavailable."""
        try:
            keys = [format_cache_key(self._get_cluster_id(), f"rate:{take.name}") for take in takes]
            with self._redis.pipeline(transaction=False) as pipeline:
                for key, take in zip(keys, takes, strict=True):
                    pipeline.eval(_TAKE, 1, key, str(take.per_second), str(take.burst), str(take.taken))
                return [float(tokens) for tokens in pipeline.execute()]
        except (ValkeyError, ClusterUnknown) as error:
            raise BucketsUnavailable(str(error)) from error

    def close(self) -> None:
        self._redis.close()
