"""Removes all values from a SQL statement, so that it can be stored although it held user data or a password.

Follows PostgreSQL's lexical rules (manual, section 4.1). The server reports only the first bytes of a statement
(`track_activity_query_size`), so the last literal may be unterminated; and a session may have backslash escapes enabled
in plain literals. The text ends at the first token that is not certain, so no value is ever stored by mistake.
"""

import re

MAX_CHARACTERS = 500
ELLIPSIS = "…"

_BACKSLASH = "\\"
_TOKEN = re.compile(
    r"""
      (?P<space>      \s+ | --[^\n]*(?:\n|$) )
    | (?P<comment>    /\* )
    | (?P<escaped>    [eE]' (?: [^'\\] | '' | \\. )* ' )
    | (?P<plain>      (?: [nNbBxX] | [uU]& )? ' (?: [^'] | '' )* ' )
    | (?P<dollars>    \$ (?P<tag> (?: [^\W\d]\w* )? ) \$ .*? \$ (?P=tag) \$ )
    | (?P<open>       ' | [eEnNbBxX]' | [uU]&' | \$ (?: [^\W\d]\w* )? \$ | [uU]&" | " (?! (?: [^"] | "" )* " ) )
    | (?P<parameter>  \$ \d+ )
    | (?P<identifier> " (?: [^"] | "" )* " | [^\W\d] [\w$]* )
    | (?P<number>     \.? \d [\w.]* (?: (?<= [eE] ) [+-] \d+ )? )
    | (?P<other>      . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_LIST = re.compile(r"\?(?:, ?\?)+")
_ASSIGNED = re.compile(r"^((?:ALTER\b.*?\b)?SET\b.*?(?:=|\bTO\b)).*", re.IGNORECASE | re.DOTALL)


def redact_statement(text: str) -> str:
    """One line of at most MAX_CHARACTERS: each literal becomes `?`, a list of them `?, …`; comments are removed."""
    parts: list[str] = []
    offset = 0
    while offset < len(text):
        match = _TOKEN.match(text, offset)
        kind = match.lastgroup if match is not None else "open"
        if match is None or kind == "open" or (kind == "plain" and _BACKSLASH in match.group()):
            parts.append(ELLIPSIS)
            break
        offset = match.end()
        if kind == "comment":
            offset = _find_comment_end(text, offset)
        parts.append(_render(kind, match.group()))
    line = " ".join("".join(parts).split())
    line = _LIST.sub(f"?, {ELLIPSIS}", _ASSIGNED.sub(r"\1 ?", line))
    return line if len(line) <= MAX_CHARACTERS else line[: MAX_CHARACTERS - 1] + ELLIPSIS


def _render(kind: str | None, text: str) -> str:
    if kind in ("space", "comment"):
        return " "
    return text if kind in ("parameter", "identifier", "other") else "?"


def _find_comment_end(text: str, offset: int) -> int:
    """Comments nest in PostgreSQL."""
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(text, offset)
        if edge is None:
            return len(text)
        depth += 1 if edge.group() == "/*" else -1
        offset = edge.end()
    return offset
