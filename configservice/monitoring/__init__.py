"""Watching every instance: probes, what they and other observers saw, and whether a primary is dead.

Decides nothing and changes no server. Talks to instances through the seam `connections`.
"""
