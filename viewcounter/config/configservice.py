"""Settings of the config service: probes, failover, adding servers."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings

from configservice.join.allow_list import check_allow_list
from configservice.settings import FailoverMode
from configservice.topology.keys import check_public_keys
from viewcounter.config.kinds import BIND, CommaSeparated


class ConfigServiceConfig(BaseSettings):
    """Config service."""

    topology_public_keys: Annotated[CommaSeparated, AfterValidator(check_public_keys)] = Field(
        "", description="processes believe topologies signed by one of them, see topology; empty: none is verified"
    )
    topology_signing_key_file: Path | None = Field(
        None, description="private key of topologies; for config services alone, see make_signing_key"
    )
    failover_mode: FailoverMode = Field(FailoverMode.AUTOMATIC, description="of shards that do not say otherwise")
    configservice_user: str = Field("", description="role on the shards that may operate them; empty: the instance's")
    configservice_password_ref: str = Field(
        "", description="its password: env:NAME or file:/path, see password_ref_dir"
    )
    probe_interval_seconds: PositiveFloat = Field(0.5, description="the config service asks each instance this often")
    probe_seconds: PositiveFloat = Field(1.0, description="bound of one such question")
    primary_silence_seconds: PositiveFloat = Field(1.5, description="a primary this long silent may be dead")
    stream_silence_seconds: PositiveFloat = Field(
        2.5, description="a standby says so too once its WAL stream is this long silent; see failover"
    )
    configservice_lease_seconds: PositiveFloat = Field(3.0, description="a leader silent for longer is put out")
    failover_action_seconds: PositiveFloat = Field(2.0, description="one statement on an instance in a failover")
    promotion_seconds: PositiveFloat = Field(30.0, description="then another candidate is taken")
    switchover_hold_seconds: PositiveFloat = Field(5.0, description="a switchover holds writes this long at most")
    switchover_drain_seconds: PositiveFloat = Field(0.5, description="transactions under way may end within this")
    switchover_max_lag_bytes: PositiveInt = Field(16 * 1024 * 1024, description="a target further behind is refused")
    rejoin_max_lag_bytes: PositiveInt = Field(16 * 1024 * 1024, description="a replica again from here on")
    strike_off_seconds: float = Field(86400.0, ge=0, description="the log is kept so long for who is away; 0: for ever")
    log_keep_share: float = Field(
        0.5, gt=0, le=1, description="of the log's memory, kept for replicas that are away; of all shards together"
    )
    instance_allow_list: Annotated[CommaSeparated, AfterValidator(check_allow_list)] = Field(
        "",
        description="NETWORK:PORTS, ... where instances may be added; ports: a number, a range or *; empty: nowhere",
    )
    instance_answer_seconds: PositiveFloat = Field(5.0, description="an instance to be added answers within this")
    standby_loss_seconds: PositiveFloat = Field(
        1.5, description="a replica this long silent is waited for no more, where durability may degrade"
    )
    configservice_metrics_bind: str = Field(
        "", pattern=BIND, description="host:port of its /metrics and /healthz, without a key; empty: nowhere"
    )
