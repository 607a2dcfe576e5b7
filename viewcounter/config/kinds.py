"""Kinds of values that several sections use."""

from pathlib import Path
from typing import Annotated

from pydantic_settings import NoDecode

PROJECT_ROOT = Path(__file__).resolve().parents[2]

CommaSeparated = Annotated[str, NoDecode]
BIND = r"^$|:\d+$"
