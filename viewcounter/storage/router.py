"""Routes migrations: the schema of shards to shards only, all others to the control database only."""

from typing import Any

SHARD_APP = "storage"
SHARD_ALIAS_PREFIX = "shard:"


class ShardRouter:
    """Django database router (https://docs.djangoproject.com/en/5.2/topics/db/multi-db/)."""

    def allow_migrate(self, db: str, app_label: str, **_hints: Any) -> bool:
        return (app_label == SHARD_APP) == db.startswith(SHARD_ALIAS_PREFIX)
