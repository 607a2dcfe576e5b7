import pytest
from django.http import QueryDict

from viewcounter.api.parameters import check_id, check_parameters, get_integer, get_required
from viewcounter.queries.errors import InvalidQuery


def refuse(call):
    with pytest.raises(InvalidQuery) as caught:
        call()
    return caught.value.field, caught.value.code


@pytest.mark.parametrize("video_id", ["a", "XpVt6Z1Gjjo", "🎬", "it's;--", '"', "x" * 128, "é%20"])
def test_an_id_that_an_event_could_carry_passes_unchanged(video_id):
    assert check_id("video_id", video_id) == video_id


@pytest.mark.parametrize(
    ("video_id", "code"),
    [
        ("x" * 129, "too_long"),
        ("x" * 300, "too_long"),
        ("", "invalid_id"),
        ("a b", "invalid_id"),
        ("a\x00b", "invalid_id"),
        ("a/b", "invalid_id"),
        ("a\n", "invalid_id"),
        ("\ud800", "invalid_id"),
        ("a\u2028", "invalid_id"),
    ],
)
def test_any_other_id_is_refused(video_id, code):
    assert refuse(lambda: check_id("video_id", video_id)) == ("video_id", code)


def test_a_misspelt_parameter_is_refused_rather_than_ignored():
    query = QueryDict("event_type=view&strat_time=2026-01-01T00:00:00Z")
    assert refuse(lambda: check_parameters(query, allowed=("event_type", "start_time"))) == (
        "strat_time",
        "unknown_parameter",
    )


def test_a_repeated_parameter_is_refused():
    query = QueryDict("event_type=view&event_type=like")
    assert refuse(lambda: check_parameters(query, allowed=("event_type",))) == ("event_type", "repeated_parameter")


def test_an_empty_required_parameter_is_missing():
    assert refuse(lambda: get_required(QueryDict("event_type="), "event_type")) == ("event_type", "required")


@pytest.mark.parametrize("text", ["1.5", "ten", "", "1e3", "٣", "--1", "9" * 11, "0x10", " 5"])
def test_only_whole_decimal_numbers_are_integers(text):
    query = QueryDict(mutable=True)
    query["limit"] = text
    assert refuse(lambda: get_integer(query, "limit", default=10)) == ("limit", "not_an_integer")


def test_integers_have_a_default_and_may_be_negative():
    assert get_integer(QueryDict(""), "limit", default=10) == 10
    assert get_integer(QueryDict("limit=-3"), "limit", default=10) == -3
