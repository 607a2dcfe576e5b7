"""Benchmarks of the service on temporary clusters, which are started from nothing and removed afterwards.

Each step that needs code of the service runs in a process of its own (`steps`), with the settings of the temporary
cluster, as a worker would; the orchestrator only starts processes, measures them from outside and aggregates. Never
used by the service.
"""
