"""The questions readers ask, as functions: counts, statistics of a period, top videos.

Pure planning of ranges and buckets, then one read through the cluster proxy. Knows nothing of HTTP.
"""
