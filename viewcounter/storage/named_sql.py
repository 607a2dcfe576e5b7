"""SQL lives in `storage/sql/*.sql`, each statement with a name, a class and its reason."""

import re
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
    for header, following in zip(headers, [*headers[1:], None], strict=True):
        body = _strip_comments(text[header.end() : following.start() if following else None])
        name = header["name"]
        if name in queries:
            raise ValueError(f"{filename}: the name {name} stands twice")
        queries[name] = Query(name=name, text=body, query_class=QueryClass(header["query_class"]))
    return queries


def read_script(filename: str) -> str:
    """A whole file, for migrations."""
    return (_DIRECTORY / filename).read_text()


def _strip_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--")).strip().rstrip(";")
