"""Keys of a cluster in the cache server. Each contains the cluster id, so that clusters may share a server."""


def format_cache_key(cluster_id: str, name: str) -> str:
    """`name` ends with a version, which grows when the encoding of the value changes."""
    return f"viewcounter:{cluster_id}:{name}"
