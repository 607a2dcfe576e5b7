"""Monitoring of instances: probes, reports of witnesses, failure detection, and the conditions of shards.

Responsible for deciding whether a primary is dead. Never changes a server: that is `configservice.failover`. Talks to
instances through the seam `connections`, to the cache for reports of witnesses, and writes conditions to the control
database.
"""
