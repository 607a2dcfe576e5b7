"""Periodic maintenance of counted data: rollups, retention, sketches, audits, recounts, and the measurement of lag.

Every task locks and checks the partition's `partition_state` row in the transaction of its change, so it may run twice,
late, or concurrently. Never receives or applies events. Talks to the shards through `clusterproxy` and
`viewcounter.storage`, to the event log for its lag, and to the control database for findings and recounts. Its Django
app label is `processing`, as its tables are named.
"""
