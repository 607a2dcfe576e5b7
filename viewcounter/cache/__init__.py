"""Caching of rows that were read: in the process, in a cache server that processes share, by partition generation.

What lies in the cache may be gone or false: nothing here is needed for an answer to be right.
"""
