"""Names of what a cluster keeps in its cache server: each carries the cluster's id, so clusters may share a server."""


def format_cache_key(cluster_id: str, name: str) -> str:
    """`name` ends with a number that grows whenever the value is written in another form."""
    return f"viewcounter:{cluster_id}:{name}"
