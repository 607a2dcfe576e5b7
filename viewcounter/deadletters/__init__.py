"""Events that could not be counted: kept apart with their reason, looked at, replayed or discarded; partitions
that stop by themselves.

Also events under the id of another one (conflicts). Never drops an event without a row that says so.
"""
