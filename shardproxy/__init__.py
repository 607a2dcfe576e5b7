"""Access to one database instance: a bounded pool, query budgets, deadlines, a circuit breaker, typed errors, and the
reaper of sessions that exceed their budget.

Responsible for all connections to a PostgreSQL server, and for bounding every wait on one, also when the server is
frozen rather than dead. Never chooses between instances, never retries a query, and knows neither Django nor
partitions. Talks to PostgreSQL only; takes addresses from `configservice.topology.model`. Used by `clusterproxy`, the
shard proxy process (`viewcounter.shardwatch`) and the config service process (`viewcounter.controlplane`).
"""
