"""Settings of the local cluster and of the replay."""

from pathlib import Path

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings


class LocalConfig(BaseSettings):
    """Local cluster and replay."""

    # -- local cluster -------------------------------------------------------------------------------
    local_shards: PositiveInt = 2
    local_replicas_per_shard: NonNegativeInt = 1
    local_movers: NonNegativeInt = Field(1, description="0: moves wait until manage.py moves resume")
    local_partitions: PositiveInt = Field(32, description="fixed by the first start")
    local_ready_seconds: PositiveFloat = Field(90.0, description="a server or process must be ready within this")
    local_stop_seconds: PositiveFloat = Field(90.0, description="bin/down kills what still runs after this")
    postgres_bin_dir: Path | None = Field(None, description="PostgreSQL programs instead of the wheel's")
    valkey_server: Path | None = Field(None, description="Valkey server program instead of the wheel's")

    # -- replay --------------------------------------------------------------------------------------
    replay_seconds: PositiveFloat = Field(900.0, description="a whole replay, retries and waiting included")
    replay_request_seconds: PositiveFloat = Field(10.0, description="one attempt of a replay's request")
