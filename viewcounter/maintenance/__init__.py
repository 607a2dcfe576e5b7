"""Periodic care of what is counted: rollups, retention, sketches, audits, recounts, lag.

Every change checks the partition's state row in its own transaction. May run twice, late, or never. Django knows it
by the label `processing`, that of its tables.
"""
