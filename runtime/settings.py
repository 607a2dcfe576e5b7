"""How a component declares its settings: a frozen dataclass whose fields carry a description and bounds.

The dataclass is all that a component needs. `viewcounter.config` fills it from the environment, and there pydantic,
which understands this metadata, checks the values. A field declared in another way is not read from the environment.
"""

from collections.abc import Callable
from dataclasses import field
from typing import Any, TypeVar

T = TypeVar("T")

BIND = r"^$|:\d+$"
"""Pattern of a setting that holds host:port, or nothing."""


def setting(default: T, description: str, *, parse: Callable[[str], Any] | None = None, **bounds: Any) -> T:
    """A field of a settings class. Numbers must be positive unless `ge` or `gt` says otherwise; texts take `pattern`
    and `min_length`. `parse` makes the value of the text in the environment, or raises ValueError. `is_reread`: a
    secret that may change while processes run: read anew for each use if a file of the secrets directory holds it."""
    is_number = isinstance(default, int | float) and not isinstance(default, bool)
    if is_number and not bounds.keys() & {"ge", "gt"}:
        bounds["gt"] = 0
    return field(default=default, metadata={"description": description, "parse": parse, **bounds})


def required(description: str, **bounds: Any) -> Any:
    """A setting without a default: no process starts without it."""
    return field(metadata={"description": description, "parse": None, **bounds})


def section(settings: type[T]) -> T:
    """A field that holds the settings of a part; its name comes before theirs in the names of the variables."""
    return field(default_factory=settings, metadata={"section": settings})


def same_as(*path: str, default: T) -> T:
    """A field that has the value of another setting, whose path in the process's settings is given."""
    return field(default=default, metadata={"same_as": path})


def split_commas(text: str) -> tuple[str, ...]:
    """Its parts without the space around them; empty ones are left out."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
