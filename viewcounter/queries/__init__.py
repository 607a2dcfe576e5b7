"""Queries of readers, as functions: counts, statistics of a period, top videos, single events, receipts.

Pure planning of ranges and buckets, then one read through the cluster proxy. Knows nothing of HTTP.
"""
