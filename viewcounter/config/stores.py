"""Where the control database, the event log, the broker and the cache are."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import BaseSettings

from shardproxy.tls import TlsFiles


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
    control_database_sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "prefer", description="TLS of the control database as libpq means it; prefer is taken on loopback only"
    )
    control_database_sslrootcert: str = Field(
        "", description="file of the certificate authorities of its certificate; system: those of the system"
    )
    control_database_sslcert: str = Field("", description="file of the client certificate shown to it")
    control_database_sslkey: str = Field("", description="file of the private key of that certificate, mode 0600")
    control_query_seconds: PositiveFloat = Field(10.0, description="statement budget on the control database")
    control_idle_seconds: PositiveFloat = Field(
        10.0,
        description="the control database ends a transaction whose process does nothing for so long, as one that is "
        "frozen: changes of the topology, failovers among them, wait for each other",
    )
    log_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="event log server")
    broker_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6380/0"), description="Celery broker")
    cache_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6380/1"), description="published topology, queue markers, answers"
    )
    cache_secret: SecretStr | None = Field(
        None, min_length=32, description="proves what is in the cache, the same on every host; unset: by secret_key"
    )

    @property
    def control_database_tls(self) -> TlsFiles:
        return TlsFiles(self.control_database_sslrootcert, self.control_database_sslcert, self.control_database_sslkey)
