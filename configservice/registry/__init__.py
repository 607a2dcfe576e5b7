"""Service registry: the running processes, by their heartbeats in the cache.

Responsible for sending heartbeats and listing services. No decision depends on it: it is for the admin, the API and
operators. Never uses the control database, except once to learn the cluster id. Talks to the cache.
"""
