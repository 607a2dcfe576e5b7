"""Syntax of ids and titles in the catalogue: ids as in events, titles any text that PostgreSQL accepts."""

from django.core.validators import RegexValidator

from viewcounter.events.message import VIDEO_ID_MAX_CHARACTERS, VIDEO_ID_PATTERN

ID_MAX_CHARACTERS = VIDEO_ID_MAX_CHARACTERS
TITLE_MAX_CHARACTERS = 500
TITLE_PATTERN = r"^[^\x00\ud800-\udfff]*\Z"

ID_VALIDATORS = (
    RegexValidator(
        VIDEO_ID_PATTERN,
        "must not be '.' or '..', nor contain white space, invisible characters or '/'",
        code="invalid_id",
    ),
)
TITLE_VALIDATORS = (RegexValidator(TITLE_PATTERN, "must be text without NUL", code="invalid_title"),)
