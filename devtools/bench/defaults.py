"""The parts of the benchmark and the defaults of its options, for `--help`."""

ROUNDS, QUICK_ROUNDS = 3, 1
DRAIN_EVENTS, QUICK_DRAIN_EVENTS = 2_000_000, 200_000

TITLES = {
    "ingest": "from a post to its 202: one gateway worker on one core",
    "pipeline": "from a post to queryable on every copy, everything on this machine",
    "drain": "from a full log to committed, without Celery, and the ratio to the same statements sent in sequence",
    "peers": "the same work by a DRF view, by batches, by bare psycopg and by us: speed beside exactness",
    "abuse": "posts of well-behaved clients while a gateway process is attacked",
    "read": "counts, statistics and top lists over HTTP, kept and fresh, by events and by shards",
    "idle": "a cluster without events: CPU, memory, processes and log",
    "scale": "drains by workers and shards, bytes an event, and what more events a second would need",
}
"""Description of each part, by name, in the order in which they run."""
