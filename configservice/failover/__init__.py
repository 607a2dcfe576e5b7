"""Changes of a shard's primary: who asks for one, what is done in which order, and what there was of it.

Responsible for the record of each change, for the pure planner that says the next step from the record and from what
the servers are (`plan`), and for carrying steps out (`executor`). Every step may be cut off anywhere: the next leader
plans from the same record and the servers as they are by then. Never decides that a primary is dead: that is
`configservice.monitoring.failure_detection`. Talks to the control database and, through the seam
`configservice.monitoring.connections`, to instances.
"""
