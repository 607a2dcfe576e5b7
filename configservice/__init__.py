"""Owner of the topology: which shards and instances there are, who is primary, and where each partition lives.

Keeps it in the control database, numbers every change with a new epoch and publishes the snapshot. Never reads or
writes a count; of a shard's tables it knows the one that says who the shard is, and asks of a new one whether they are
empty. `configservice.topology.model` is what everybody else may import; the
rest is for the control plane: the admin, `manage.py init_cluster`, and whoever wires a process's topology source.
"""
