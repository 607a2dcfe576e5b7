"""Settings of every process and of the web processes."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import BaseSettings

from viewcounter.config.kinds import BIND, PROJECT_ROOT, CommaSeparated


class WebConfig(BaseSettings):
    """Processes and the web server."""

    # -- process and web -----------------------------------------------------------------------------
    debug: bool = False
    secret_key: SecretStr = Field(
        min_length=50, description="Django's signing key, random; before it is replaced, keep the old one as viewer_key"
    )
    viewer_key: SecretStr | None = Field(None, min_length=32, description="tells viewers apart; unset: by secret_key")
    silenced_checks: CommaSeparated = Field(
        "", description="ids of Django's system checks that do not apply here, such as security.W004"
    )
    allowed_hosts: CommaSeparated = Field(
        "127.0.0.1,localhost,[::1]", description="values of the Host header; a request with another one gets a 400"
    )
    https_only: bool = Field(
        True, description="refuse posts of events by plain HTTP (403), redirect other requests, mark cookies secure"
    )
    behind_tls_proxy: bool = Field(False, description="trust X-Forwarded-Proto: the proxy must strip the client's own")
    proxy_addresses: CommaSeparated = Field(
        "127.0.0.1,::1",
        description="proxies whose X-Forwarded-For says who the client is, with behind_tls_proxy; also networks",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    web_bind: str = Field("127.0.0.1:8000", description="where the web processes listen")
    state_dir: Path = Field(PROJECT_ROOT / ".local", description="disk copies that survive a restart")
    zone: str = Field("local", description="zone of this process; reads prefer replicas of the same zone")

    # -- admin ---------------------------------------------------------------------------------------
    admin: Literal["none", "here", "only"] = Field(
        "none", description="what of /admin/ a web process serves: nothing, it beside the API, or nothing else"
    )
    log_in_max_at_once: PositiveInt = Field(2, description="passwords checked at once in a process, 46 MiB each")
    log_in_max_waiting: PositiveInt = Field(8, description="log-ins that wait for that; beyond it 503")
    log_in_failures_per_minute_of_address: PositiveInt = Field(10, description="then 429, no password is checked")
    log_in_failures_per_minute_of_name: PositiveInt = Field(20, description="the same, from all addresses together")

    # -- processes -----------------------------------------------------------------------------------
    web_workers: PositiveInt = Field(1, description="gunicorn worker processes; one a core")
    web_graceful_seconds: PositiveInt = Field(10, description="requests under way may end within this at a stop")
    web_linger_seconds: PositiveFloat = Field(1.0, description="a stopping process answers on open connections so long")
    web_max_connections: PositiveInt = Field(2000, description="open connections of a web process; beyond it 503")
    web_head_seconds: PositiveFloat = Field(10.0, description="a client has this long to send the head of a request")
    web_head_max_bytes: PositiveInt = Field(32_768, description="address and headers of a request; beyond it 431")
    web_head_max_headers: PositiveInt = Field(100, description="headers of a request; beyond it 431")
    web_keyless_max_at_once: PositiveInt = Field(
        2, description="requests without a valid secret key that Django works on at once, in a process"
    )
    web_keyless_max_waiting: PositiveInt = Field(100, description="such requests that wait for that; beyond it 503")
    web_keyless_wait_seconds: PositiveFloat = Field(5.0, description="they, and log-ins, wait so long; then 503")
    web_silent_seconds: PositiveInt = Field(30, description="a web worker silent for longer is killed")
    worker_metrics_bind: str = Field(
        "", pattern=BIND, description="host:port of a worker's /metrics and /healthz, without a key; empty: nowhere"
    )
    beat_metrics_bind: str = Field("", pattern=BIND, description="the same for beat")
    worker_processes: PositiveInt = Field(2, description="Celery pool processes of the local cluster")

    cluster_interval_seconds: PositiveFloat = Field(10.0, description="the cluster is measured for metrics this often")
    service_heartbeat_seconds: PositiveFloat = Field(2.0, description="each process says that it lives this often")
    service_lost_seconds: PositiveFloat = Field(10.0, description="one that is silent for longer is shown as lost")
    service_forget_seconds: PositiveFloat = Field(600.0, description="and after this no more")
