"""Keys of the log server, and the fields of an entry."""

from collections.abc import Sequence

from viewcounter.eventlog.interface import LogIdentity

NO_IDENTITY = LogIdentity("", 0)
FIELD, LOST_FIELD = b"e", b"m"
ID_KEY = "log-id"
"""Key with the id of the server's log: written once, when the log is created."""
TERM_KEY = "log-term"
"""Key with the term of the positions that the server gives, written together with the id."""
FIRST_TERM_KEY = "log-first-term"
"""Key with the term in which this log began on this server: it has no entry of an earlier one."""


def build_identity(found: Sequence[bytes | None]) -> LogIdentity:
    """Of the values of ID_KEY and TERM_KEY. NO_IDENTITY of a server without a log."""
    log_id, term = found
    return NO_IDENTITY if log_id is None else LogIdentity(log_id.decode(), int(term or 0))


def get_log_key(partition: int) -> str:
    return f"log:{{{partition}}}"


def get_count_key(partition: int) -> str:
    """Holds the number of events ever appended."""
    return f"log-count:{{{partition}}}"


def get_floor_key(partition: int) -> str:
    """Holds the position through which entries have been trimmed or lost."""
    return f"log-floor:{{{partition}}}"
