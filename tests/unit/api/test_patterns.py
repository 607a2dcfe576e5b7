"""Patterns of the document admit the same texts as those of Python that validate."""

import re

import pytest

from viewcounter.api.openapi.patterns import mend_patterns, to_schema_pattern
from viewcounter.catalogue.limits import TITLE_PATTERN
from viewcounter.events.message import VIDEO_ID_PATTERN, VIEWER_ID_PATTERN


@pytest.mark.parametrize("pattern", [VIDEO_ID_PATTERN, VIEWER_ID_PATTERN], ids=["video", "viewer"])
@pytest.mark.parametrize(
    "text", ["a", "é🎬", "a b", "a/b", "", "a\n", "\x00", "\xa0", "\u2028", "\ufeff", "\x7f", "\x9f"]
)
def test_ids_that_events_may_have_are_those_of_the_document(text, pattern):
    of_document = to_schema_pattern(pattern).removesuffix("$") + r"\Z"
    assert bool(re.search(of_document, text)) == bool(re.search(pattern, text))


def test_no_pattern_of_python_s_own_is_left():
    [pattern] = mend_patterns([{"pattern": TITLE_PATTERN}])
    assert pattern == {"pattern": r"^[^\u0000]*$"}


def test_text_that_may_be_empty_has_one_schema():
    title = {"oneOf": [{"type": "string", "pattern": TITLE_PATTERN}, {"type": "string", "maxLength": 0}], "title": "T"}
    assert mend_patterns({"title": title}) == {"title": {"type": "string", "pattern": r"^[^\u0000]*$", "title": "T"}}
