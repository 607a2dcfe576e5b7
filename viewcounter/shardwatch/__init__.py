"""The shard proxy process: watches instances, ends sessions past their budget, tells what it sees as metrics and
as a witness.

Never routes a query. Django knows it by the label `operations`, that of its tables.
"""
