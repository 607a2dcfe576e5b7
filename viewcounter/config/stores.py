"""Where the control database, the event log, the broker and the cache are."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import BaseSettings


def normalise_cluster_id(text: str) -> str:
    """As shards and topologies write it. Raises ValueError."""
    return str(UUID(text)) if text else ""


class StoresConfig(BaseSettings):
    """Control database, event log, broker, cache."""

    cluster_id: Annotated[str, AfterValidator(normalise_cluster_id)] = Field(
        "", description="UUID of this cluster, as init_cluster prints it; empty: learned from the control database"
    )
    control_database_host: str = "127.0.0.1"
    control_database_port: PositiveInt = 5432
    control_database_name: str = "viewcounter_control"
    control_database_user: str = "viewcounter"
    control_database_password: SecretStr = SecretStr("")
    control_query_seconds: PositiveFloat = Field(10.0, description="statement budget on the control database")
    log_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="event log server")
    broker_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6380/0"), description="Celery broker")
    cache_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6380/1"), description="published topology, queue markers, answers"
    )
