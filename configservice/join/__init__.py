"""Taking servers into the cluster: what must be true of one before it becomes a shard's primary or a replica.

Responsible for looking at a server that somebody names (`probing`: the address is resolved once, held against the allow
list, and every wait is bounded), for judging it (`judging`, pure) and for recording it (`changes`). Never makes tables
itself and knows no driver: both come as `ClusterTools` from whoever runs the process. What happens to instances that
are in the cluster already is `configservice.join.draining`.
"""
