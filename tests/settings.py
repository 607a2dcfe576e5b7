"""The settings of this process with some of them changed."""

import os
from typing import Any

from viewcounter.config import Config, read_settings
from viewcounter.config.reading import list_settings

VARIABLES = {found.variable for found in list_settings(Config)}


def configure(**changes: Any) -> Config:
    """`changes` by the name of the variable in lower case, without its prefix: `pool_wait_seconds=2.0`."""
    given = {f"VIEWCOUNTER_{name.upper()}": str(value) for name, value in changes.items()}
    assert given.keys() <= VARIABLES
    return read_settings(Config, {"VIEWCOUNTER_SECRET_KEY": "x" * 50, **os.environ, **given})
