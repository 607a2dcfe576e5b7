"""Records of partition moves: requests, claims by movers, the state machine, and the decision that changes the owner.

Responsible for which state a move is in and which mover may work on it. Never copies a row and never connects to a
shard: that is `viewcounter.moves`. Talks to the control database; publishes through `configservice.topology`.
"""
