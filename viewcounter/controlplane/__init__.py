"""Control plane of a deployment: preparation of databases, shard schemas, the identity of the event log, and the config
service process.

Responsible for giving `configservice` its connections, settings and metrics, and for the commands that prepare and
repair a cluster. Never decides about roles or failovers: that is `configservice`. Never on the path of an event or a
read. Talks to the control database, to primaries of shards and to the event log.
"""
