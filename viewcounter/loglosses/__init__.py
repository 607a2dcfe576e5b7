"""Acknowledged entries that the event log has lost: seen and closed by operators, salvaged from an older log server.

Never closes a loss as salvaged before its entries have been applied. Talks to the shards and to event logs.
"""
