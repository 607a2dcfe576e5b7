"""The `VIEWCOUNTER_*` settings of processes of this cluster, and the servers that are provided from outside.

A server whose address is in the real environment is not started: that address is used instead. The settings are
written to `.local/env`, so that a command in any other shell finds the same cluster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devtools.localcluster.errors import SettingsContradict
from devtools.localcluster.ports import LOOPBACK
from devtools.localcluster.signing_key import get_public_key
from devtools.localcluster.spec import (
    BROKER_SERVER,
    CONFIG_SERVICE_ROLE,
    CONTROL_DATABASE,
    CONTROL_SERVER,
    LOG_SERVER,
    SERVICE_ROLE,
    SHARD_PROXY,
    SHARD_PROXY_ROLE,
    WEB,
)
from devtools.localcluster.state import PRIVATE_DIR, StateFolder, write_first, write_private

SERVER_NAMES = (CONTROL_SERVER, LOG_SERVER, BROKER_SERVER)
NETWORK_NAMES = (*SERVER_NAMES, WEB, SHARD_PROXY)
"""Members whose addresses are settings; those of shards are in the topology."""

SIGNING_KEY_MIN_CHARACTERS = 50
"""Minimum length of the setting `secret_key`."""
CONTROL_PASSWORD = "VIEWCOUNTER_CONTROL_DATABASE_PASSWORD"  # noqa: S105
VIEWER_KEY = "VIEWCOUNTER_VIEWER_KEY"
PUBLIC_KEYS = "VIEWCOUNTER_CLUSTER_TOPOLOGY_PUBLIC_KEYS"
_CHECKS_OF_HTTPS = "security.W004,security.W008,security.W012,security.W016"
"""Checks of `manage.py check --deploy` that are silenced: a local cluster serves plain HTTP on loopback only."""

_CONTROL_SETTINGS = tuple(
    f"VIEWCOUNTER_CONTROL_DATABASE_{part}" for part in ("HOST", "PORT", "NAME", "USER", "PASSWORD")
)
_ADDRESSES = (
    *_CONTROL_SETTINGS,
    "VIEWCOUNTER_LOG_URL",
    "VIEWCOUNTER_BROKER_URL",
    "VIEWCOUNTER_CACHE_URL",
    "VIEWCOUNTER_WEB_BIND",
    "VIEWCOUNTER_SHARDPROXY_METRICS_BIND",
    "VIEWCOUNTER_CONFIGSERVICE_INSTANCE_ALLOW_LIST",
)


@dataclass(frozen=True, slots=True)
class ClusterEnvironment:
    """`settings` of every process. `given`: names of the servers that are provided from outside."""

    settings: dict[str, str]
    given: frozenset[str]


def build_environment(
    state: StateFolder,
    *,
    ports: Mapping[str, int],
    outer: Mapping[str, str],
    control_servers: Sequence[str] = (CONTROL_SERVER,),
) -> ClusterEnvironment:
    """Our own settings, overridden by those of the real environment where it names another server."""
    own = build_own_settings(state, ports=ports, control_servers=control_servers)
    given = find_given_settings(own, outer)
    servers = frozenset(
        server
        for server, names in {
            CONTROL_SERVER: _CONTROL_SETTINGS[:2],
            LOG_SERVER: ("VIEWCOUNTER_LOG_URL",),
            BROKER_SERVER: ("VIEWCOUNTER_BROKER_URL",),
        }.items()
        if any(name in given for name in names)
    )
    if ("VIEWCOUNTER_BROKER_URL" in given) != ("VIEWCOUNTER_CACHE_URL" in given):
        raise SettingsContradict("give both of VIEWCOUNTER_BROKER_URL and VIEWCOUNTER_CACHE_URL, or neither")
    if CONTROL_SERVER not in servers and (cluster_id := state.find_cluster_id()):
        own["VIEWCOUNTER_CLUSTER_ID"] = cluster_id
    return ClusterEnvironment(settings=own | given, given=servers)


def build_own_settings(
    state: StateFolder, *, ports: Mapping[str, int], control_servers: Sequence[str] = (CONTROL_SERVER,)
) -> dict[str, str]:
    log_password, broker_password = state.get_secret("log_password"), state.get_secret("broker_password")
    broker = f"redis://:{broker_password}@{LOOPBACK}:{ports[BROKER_SERVER]}"
    return {
        "VIEWCOUNTER_STATE_DIR": str(state.root),
        **_get_signing_keys(state),
        "VIEWCOUNTER_SITE_HTTPS_ONLY": "false",
        "VIEWCOUNTER_ADMIN": "here",  # a process of its own would take 90 MiB
        "VIEWCOUNTER_SILENCED_CHECKS": _CHECKS_OF_HTTPS,
        "VIEWCOUNTER_CONTROL_DATABASE_HOST": ",".join(LOOPBACK for _ in control_servers),
        "VIEWCOUNTER_CONTROL_DATABASE_PORT": ",".join(str(ports[name]) for name in control_servers),
        "VIEWCOUNTER_CONTROL_DATABASE_NAME": CONTROL_DATABASE,
        "VIEWCOUNTER_CONTROL_DATABASE_USER": SERVICE_ROLE,
        CONTROL_PASSWORD: state.get_secret("control_password"),
        "VIEWCOUNTER_LOG_URL": f"redis://:{log_password}@{LOOPBACK}:{ports[LOG_SERVER]}/0",
        "VIEWCOUNTER_BROKER_URL": f"{broker}/0",
        "VIEWCOUNTER_CACHE_URL": f"{broker}/1",
        "VIEWCOUNTER_WEB_BIND": f"{LOOPBACK}:{ports[WEB]}",
        PUBLIC_KEYS: get_public_key(state),
        "VIEWCOUNTER_POOL_PASSWORD_REFS_DIRECTORY": str(state.instance_passwords),
        "VIEWCOUNTER_CONFIGSERVICE_INSTANCE_ALLOW_LIST": "127.0.0.0/8:*,[::1]:*",
        "VIEWCOUNTER_CONFIGSERVICE_USER": CONFIG_SERVICE_ROLE,
        "VIEWCOUNTER_CONFIGSERVICE_PASSWORD_REF": f"file:{state.get_secret_path('configservice_password')}",
        "VIEWCOUNTER_SHARDPROXY_METRICS_BIND": f"{LOOPBACK}:{ports[SHARD_PROXY]}",
        "VIEWCOUNTER_SHARDPROXY_USER": SHARD_PROXY_ROLE,
        "VIEWCOUNTER_SHARDPROXY_PASSWORD_REF": f"file:{state.get_secret_path('shard_proxy_password')}",
    }


def move_to_files(state: StateFolder, settings: dict[str, str]) -> None:
    """Take those that may be replaced while processes run out of `settings`, which then name their files."""
    folder = state.exchanged_secrets
    folder.mkdir(mode=PRIVATE_DIR, exist_ok=True)
    settings.setdefault(VIEWER_KEY, settings["VIEWCOUNTER_SECRET_KEY"])
    for name in (CONTROL_PASSWORD, VIEWER_KEY):
        write_first(get_exchanged_path(state, name), settings.pop(name))
    path = get_public_keys_path(state)
    write_first(path, settings[PUBLIC_KEYS])
    settings |= {"VIEWCOUNTER_SECRETS_DIR": str(folder), PUBLIC_KEYS: f"file:{path}"}


def get_public_keys_path(state: StateFolder) -> Path:
    return state.exchanged_secrets / "topology_public_keys"


def get_exchanged_path(state: StateFolder, setting: str) -> Path:
    return state.exchanged_secrets / setting.lower()


def _get_signing_keys(state: StateFolder) -> dict[str, str]:
    """Replaces a signing key of an earlier release, which is too short. It stays the key of viewer digests."""
    if len(state.get_secret("secret_key")) < SIGNING_KEY_MIN_CHARACTERS:
        state.rename_secret("secret_key", "viewer_key")
    keys = {"VIEWCOUNTER_SECRET_KEY": state.get_secret("secret_key")}
    if state.get_secret_path("viewer_key").exists():
        keys[VIEWER_KEY] = state.get_secret("viewer_key")
    return keys


def find_given_settings(own: Mapping[str, str], outer: Mapping[str, str]) -> dict[str, str]:
    """Addresses in the real environment that differ from ours (a shell may have loaded our own `.local/env`)."""
    return {name: outer[name] for name in _ADDRESSES if name in outer and outer[name] != own[name]}


def write_environment(state: StateFolder, settings: Mapping[str, str]) -> None:
    lines = ["# Written by the local cluster at each start. Holds passwords."]
    lines += [f"{name}={value}" for name, value in settings.items()]
    write_private(state.environment_file, "\n".join(lines) + "\n")
