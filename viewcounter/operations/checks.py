"""Settings by which a topology could name a secret that is no password of an instance are refused."""

import os
from pathlib import Path
from typing import Any

from django.core.checks import CheckMessage, Error

from viewcounter.config import Config, get_config


def check_password_refs(**_options: Any) -> list[CheckMessage]:
    """Django system check; see docs/operations/adding-instances.md."""
    return find_exposed_secrets(get_config(), secrets_dir=os.environ.get("VIEWCOUNTER_SECRETS_DIR", ""))


def find_exposed_secrets(config: Config, *, secrets_dir: str) -> list[CheckMessage]:
    if config.password_ref_dir is None or not secrets_dir:
        return []
    if not Path(secrets_dir).resolve().is_relative_to(config.password_ref_dir.resolve()):
        return []
    return [
        Error(
            f"VIEWCOUNTER_SECRETS_DIR ({secrets_dir}) lies in password_ref_dir ({config.password_ref_dir}).",
            hint="A topology could name any secret of ours as a password. Keep passwords of instances in a folder of"
            " their own.",
            id="viewcounter.E004",
        )
    ]
