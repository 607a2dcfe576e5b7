"""Changes of a shard's primary: requests, the planner, the executor, and the reconciliation of roles between failovers.

Responsible for the record of each failover, for the pure planner that derives the next step from the record and the
state of the servers (`plan`), for carrying steps out (`executor`), and for the recorded condition of each shard
(`conditions`, `shard_reports`). A step may be interrupted anywhere: the next leader plans from the same record and the
servers' state at that time. Never decides that a primary is dead: that is
`configservice.monitoring.failure_detection`. Talks to the control database and, through
`configservice.monitoring.connections`, to instances.
"""
