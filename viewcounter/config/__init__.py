"""Typed settings: every knob of viewcounter, its unit, its default for a laptop; a module for each section.

Values come, first wins, from environment variables `VIEWCOUNTER_<NAME>`, from one file a secret in
`VIEWCOUNTER_SECRETS_DIR`, and from the `KEY=value` file named by `VIEWCOUNTER_ENV_FILE` (default
`.local/env`, which the local cluster writes). Nothing here is read a second time while a process runs.
"""

import os
from functools import cache
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from viewcounter.config.configservice import ConfigServiceConfig
from viewcounter.config.databases import DatabasesConfig
from viewcounter.config.ingest import IngestConfig
from viewcounter.config.kinds import PROJECT_ROOT
from viewcounter.config.local import LocalConfig
from viewcounter.config.moves import MovesConfig
from viewcounter.config.processing import ProcessingConfig
from viewcounter.config.reads import ReadsConfig
from viewcounter.config.shardproxy import ShardProxyConfig
from viewcounter.config.sketches import SketchConfig
from viewcounter.config.stores import StoresConfig
from viewcounter.config.web import WebConfig

SECTIONS: tuple[type[BaseSettings], ...] = (
    WebConfig,
    StoresConfig,
    IngestConfig,
    ProcessingConfig,
    SketchConfig,
    MovesConfig,
    DatabasesConfig,
    ConfigServiceConfig,
    ShardProxyConfig,
    ReadsConfig,
    LocalConfig,
)
"""In the order of the settings page."""


class Config(
    WebConfig,
    StoresConfig,
    IngestConfig,
    ProcessingConfig,
    SketchConfig,
    MovesConfig,
    DatabasesConfig,
    ConfigServiceConfig,
    ShardProxyConfig,
    ReadsConfig,
    LocalConfig,
):
    """All settings. Names carry their unit; sizes are bytes, times are seconds unless the name says ms."""

    model_config = SettingsConfigDict(env_prefix="VIEWCOUNTER_", extra="ignore", frozen=True)


@cache
def get_config() -> Config:
    """The settings of this process, read once. Raises pydantic's ValidationError naming each bad one."""
    state_dir = os.environ.get("VIEWCOUNTER_STATE_DIR", str(PROJECT_ROOT / ".local"))
    env_file = os.environ.get("VIEWCOUNTER_ENV_FILE", str(Path(state_dir, "env")))
    secrets_dir = os.environ.get("VIEWCOUNTER_SECRETS_DIR") or None
    return Config(_env_file=env_file, _secrets_dir=secrets_dir)  # type: ignore[call-arg]
