"""Health of the cluster and of this process: a probe of all instances, the condition of each shard in words, readiness,
and the registration of processes.

Writes only heartbeats and metrics, and every wait is bounded. Never changes the cluster: that is `configservice`. Talks
to shards through `clusterproxy`, to the event log, and to the control database and the cache through `configservice`.
"""
