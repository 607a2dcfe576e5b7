"""Settings of the daemon beside a shard's instance."""

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings

from viewcounter.config.kinds import BIND, CommaSeparated


class ShardProxyConfig(BaseSettings):
    """Shard proxy."""

    shardproxy_user: str = Field(
        "", description="role by which run_shardproxy watches: pg_monitor, pg_signal_backend; empty: the instance's own"
    )
    shardproxy_password_ref: str = Field(
        "", pattern=r"^$|^env:.+|^file:/.+", description="where its password is: env:NAME or file:/absolute/path"
    )
    shardproxy_metrics_bind: str = Field(
        "", pattern=BIND, description="host:port of its /metrics and /healthz, without a key; empty: nowhere"
    )
    shardproxy_answer_seconds: PositiveFloat = Field(1.0, description="an instance answers within this or is away")
    shardproxy_backoff_seconds: PositiveFloat = Field(2.0, description="longest pause before it is asked again")
    shardproxy_vitals_seconds: PositiveFloat = Field(5.0, description="connections, lag, slots are measured this often")
    shardproxy_size_seconds: PositiveFloat = Field(60.0, description="the size of a database is measured this often")
    shardproxy_stop_seconds: PositiveFloat = Field(10.0, description="run_shardproxy has so long to stop")
    killer_interval_seconds: PositiveFloat = Field(0.5, description="sessions of an instance are looked at this often")
    killer_slack_seconds: float = Field(
        0.25, ge=0, description="past the budget of its class a session of ours has so long: the server cancels first"
    )
    killer_grace_seconds: PositiveFloat = Field(2.0, description="from the cancel of a statement to its session's end")
    killer_foreign_query_seconds: PositiveFloat = Field(20.0, description="a statement of a foreign session")
    killer_foreign_idle_seconds: PositiveFloat = Field(
        10.0, description="a pause of a foreign session in a transaction, or anywhere while no connection is free"
    )
    killer_foreign_blocking_seconds: PositiveFloat = Field(
        5.0, description="a foreign transaction whose lock one of ours waits for"
    )
    killer_spared_applications: CommaSeparated = Field(
        "pg_dump,pg_dumpall,pg_restore,vacuumdb,reindexdb", description="application_name of sessions never ended"
    )
    kill_max_waiting: PositiveInt = Field(1000, description="kills kept in memory while the control database is down")
    kill_retention_seconds: PositiveInt = Field(30 * 86400, description="kills stay in the control database")
    kills_max_items: PositiveInt = Field(500, description="kills in one answer")
