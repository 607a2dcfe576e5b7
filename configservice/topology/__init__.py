"""The topology: its model, the snapshot built from the control tables, its publication, signatures and history.

Every process imports `model`, which imports nothing of ours. Never connects to an instance: that is `monitoring`. Talks
to the control database and the cache.
"""
