"""Django admin of the cluster, one module for each page. Importing this package registers all pages.

Responsible for forms, confirmations and permissions. Never contains rules of its own: `join`, `failover`, `moves` and
`topology` decide and record. Talks to the control database; inspects servers only through `join`.
"""

from configservice.admin import topology

__all__ = ["topology"]
