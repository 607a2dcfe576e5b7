"""The service registry: which processes there are, by their heartbeats in the cache. Nothing depends on it but
what is shown.
"""
