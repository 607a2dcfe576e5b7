"""Monitoring of instances: probes, reports of witnesses, failure detection.

Responsible for deciding whether a primary is dead. Never changes a server: that is `configservice.failover`. Talks to
instances through the seam `connections`, and to the cache for reports of witnesses.
"""
