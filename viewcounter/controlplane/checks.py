"""System checks of keys and password references.

They refuse settings with which a process would accept foreign topologies, would reject its own, or would send one of
its secrets to a server that a topology names.
"""

import os
from pathlib import Path
from typing import Any

from django.core.checks import CheckMessage, Error

from configservice.errors import BadSigningKey
from configservice.topology.keys import split_public_keys
from configservice.topology.signing import read_signing_key
from viewcounter.config import Config, get_config


def check_password_refs(**_options: Any) -> list[CheckMessage]:
    """Django system check; see docs/operations/adding-instances.md."""
    return find_exposed_secrets(get_config(), secrets_dir=os.environ.get("VIEWCOUNTER_SECRETS_DIR", ""))


def find_exposed_secrets(config: Config, *, secrets_dir: str) -> list[CheckMessage]:
    directory = config.pool.password_refs.directory
    if directory is None or not secrets_dir:
        return []
    if not Path(secrets_dir).resolve().is_relative_to(directory.resolve()):
        return []
    return [
        Error(
            f"VIEWCOUNTER_SECRETS_DIR ({secrets_dir}) lies in VIEWCOUNTER_POOL_PASSWORD_REFS_DIRECTORY ({directory}).",
            hint="A topology could name any secret of this process as a password. Keep the passwords of instances in a"
            " directory of their own.",
            id="viewcounter.E004",
        )
    ]


def check_public_keys(**_options: Any) -> list[CheckMessage]:
    """Django system check of deployments; see docs/operations/topology.md."""
    return find_public_key_errors(get_config())


def find_public_key_errors(config: Config) -> list[CheckMessage]:
    if config.cluster.topology_public_keys:
        return []
    return [
        Error(
            "VIEWCOUNTER_CLUSTER_TOPOLOGY_PUBLIC_KEYS is empty.",
            hint="Topologies are not verified: processes accept only the control database's, so a process on a new host"
            " does not start without it. Make a key: manage.py make_signing_key.",
            id="viewcounter.E005",
        )
    ]


def check_signing_key(**_options: Any) -> list[CheckMessage]:
    """Django system check."""
    return find_signing_key_errors(get_config())


def find_signing_key_errors(config: Config) -> list[CheckMessage]:
    path = config.configservice.signing_key_file
    if path is None:
        return []
    try:
        key = read_signing_key(path)
    except BadSigningKey as error:
        return [Error(f"VIEWCOUNTER_CONFIGSERVICE_SIGNING_KEY_FILE: {error}.", id="viewcounter.E006")]
    if not config.cluster.topology_public_keys or key.id in split_public_keys(config.cluster.topology_public_keys):
        return []
    return [
        Error(
            "VIEWCOUNTER_CLUSTER_TOPOLOGY_PUBLIC_KEYS does not hold the public half of"
            f" VIEWCOUNTER_CONFIGSERVICE_SIGNING_KEY_FILE, {key.public}.",
            hint="Every process would refuse topologies signed with this key.",
            id="viewcounter.E007",
        )
    ]
