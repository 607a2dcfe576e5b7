"""The ground floor: what every process needs and nothing that counts.

Errors, backoff, breaker, background tasks, outage log, Valkey clients, single flight, metrics, parts of HTTP servers.
Knows no domain word but the names of metrics. Never imports anything of ours, and reads no setting by itself.
"""
