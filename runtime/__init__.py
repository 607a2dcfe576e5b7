"""The ground floor: what every process needs and nothing that counts. Errors, backoff, breaker, single flight, metrics,
HTTP parts.

Knows no domain word but the names of metrics. Never imports anything of ours, and reads no setting by itself.
"""
