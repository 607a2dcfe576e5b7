"""How much one client address may do, by the clock of this process alone.

It tells clients apart who show the same public key, or none. Where a proxy that is not in `proxy_addresses` stands in
between, all of them have its address: limits by address are only as good as that setting.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from viewcounter.apikeys.token_bucket import TokenBucket, make_bucket

_IPV6_NETWORK_BITS = 64
_ADDRESSES_PARSED = 1024


@dataclass(slots=True)
class BoundedBuckets:
    """Token buckets by name; the least recently used one leaves first, and is full again if it comes back."""

    per_second: float
    burst_seconds: float
    max_buckets: int
    _buckets: OrderedDict[tuple[str, ...], TokenBucket] = field(default_factory=OrderedDict)

    def get(self, name: tuple[str, ...], *, now: float) -> TokenBucket:
        """As it is now."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = make_bucket(self.per_second, burst_seconds=self.burst_seconds, now=now)
            if len(self._buckets) > self.max_buckets:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(name)
            bucket.refill(now)
        return bucket


def get_client_address(scope: Mapping[str, Any]) -> str:
    """As limits take it. Empty where the server does not say."""
    client = scope.get("client")
    return shorten_address(str(client[0])) if client else ""


@lru_cache(_ADDRESSES_PARSED)
def shorten_address(address: str) -> str:
    """Of IPv6 the network, which one client has whole; other text as it is."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, _IPV6_NETWORK_BITS), strict=False).network_address)
