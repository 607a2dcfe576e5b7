"""Kinds of values that several sections use."""

from pathlib import Path
from typing import Annotated

from pydantic_settings import NoDecode

PROJECT_ROOT = Path(__file__).resolve().parents[2]

CommaSeparated = Annotated[str, NoDecode]
BIND = r"^$|:\d+$"


def split_commas(text: CommaSeparated) -> tuple[str, ...]:
    """Its parts without the space around them; empty ones are left out."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
