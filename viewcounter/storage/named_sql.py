"""Loads SQL statements from `storage/sql/*.sql`; each has a name, a query class and a comment with its reason."""

import re
from collections.abc import Mapping
from pathlib import Path

from shardproxy.query import Query, QueryClass

_DIRECTORY = Path(__file__).parent / "sql"
_HEADER = re.compile(r"^-- name: (?P<name>\w+) \((?P<query_class>\w+)\)$", re.MULTILINE)


def load_queries(filename: str) -> dict[str, Query]:
    """Statements of one file by name. Raises ValueError for text before the first header or a name used twice."""
    text = (_DIRECTORY / filename).read_text()
    headers = list(_HEADER.finditer(text))
    if not headers or _strip_comments(text[: headers[0].start()]):
        raise ValueError(f"{filename}: every statement needs a line '-- name: <name> (<class>)'")
    queries: dict[str, Query] = {}
    for header, next_header in zip(headers, [*headers[1:], None], strict=True):
        body = _strip_comments(text[header.end() : next_header.start() if next_header else None])
        name = header["name"]
        if name in queries:
            raise ValueError(f"{filename}: the name {name} is used twice")
        queries[name] = Query(name=name, text=body, query_class=QueryClass(header["query_class"]))
    return queries


def derive_query(base: Query, *, name: str, query_class: QueryClass | None = None, changes: Mapping[str, str]) -> Query:
    """`base` with each key of `changes` replaced. Raises ValueError unless each key occurs exactly once."""
    text = base.text
    for old, new in changes.items():
        if text.count(old) != 1:
            raise ValueError(f"{name}: {base.name} must contain this text once, not {text.count(old)} times: {old!r}")
        text = text.replace(old, new)
    return Query(name=name, text=text, query_class=query_class or base.query_class, binary=base.binary)


def read_script(filename: str) -> str:
    """A whole file, for migrations."""
    return (_DIRECTORY / filename).read_text()


def _strip_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--")).strip().rstrip(";")
