"""How the cluster is: every instance asked at once, each shard's condition in words, readiness, registration of
processes.

Writes nothing but heartbeats and metrics, and never waits longer than its bound.
"""
