"""One database instance: a bounded pool, budgets and deadlines, a breaker, and errors a caller can act on.

Responsible for talking to exactly one PostgreSQL server and for never waiting on it without a bound, also
when it is frozen rather than dead. Never decides *which* instance to ask, never retries, knows no shard,
partition or Django. Talks to PostgreSQL only; used by `clusterproxy`.
"""
