"""Owner of the topology: which shards and instances there are, who is primary, and where each partition lives.

Keeps it in the control database, numbers every change with a new epoch and publishes the snapshot. Never reads or
writes a count and never talks to a shard's tables. `configservice.topology` is what everybody else may import; the
rest is for the control plane: the admin, `manage.py init_cluster`, and whoever wires a process's topology source.
"""
