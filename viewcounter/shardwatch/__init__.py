"""The shard proxy process: wires `shardproxy.daemon` to metrics, the table of kills, witness reports and lag.

It watches database instances, ends sessions past their budget, and publishes health and lag of each instance. It talks
to the instances, the control database, the cache and the event log.

Never routes a query of the service, never changes rows of a shard. Its Django app label is `operations`, as its tables
are named.
"""
