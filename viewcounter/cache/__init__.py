"""Caching of answers: in the process, in the cache server that all share, and by the generation of a partition.

What lies in the cache may be gone or false: nothing here is needed for an answer to be right.
"""
