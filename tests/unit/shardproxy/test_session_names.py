"""Names of sessions are read back as what they were made of, and no other name is taken for one of ours."""

import pytest

from shardproxy.connection import Purpose, find_purpose, format_session_name
from shardproxy.query import QueryClass

APPLICATION = "viewcounter"


@pytest.mark.parametrize("purpose", [*QueryClass, *Purpose])
def test_a_name_is_read_back_as_what_it_was_made_of(purpose):
    assert find_purpose(format_session_name(APPLICATION, purpose), application=APPLICATION) is purpose


@pytest.mark.parametrize(
    "name",
    ["", "viewcounter", "viewcounter ", "viewcounter  point", "viewcounter points", "other point", "point", "psql"],
)
def test_any_other_name_says_nothing(name):
    assert find_purpose(name, application=APPLICATION) is None


def test_names_need_no_quoting():
    assert all(word.replace("_", "").isalnum() for word in [*QueryClass, *Purpose])
