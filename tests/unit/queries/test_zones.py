"""Names of zones: as people, browsers and their own database write them."""

from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest

from viewcounter.queries.errors import InvalidQuery
from viewcounter.queries.zones import get_zone, get_zone_name

SUMMER = datetime(2026, 7, 1, tzinfo=UTC)


def find_offset(name):
    return SUMMER.astimezone(get_zone(name)).utcoffset()


def test_every_name_of_the_database_is_found_in_any_case():
    names = files("tzdata").joinpath("zones").read_text().split()
    for name in names:
        assert {get_zone_name(spelling) for spelling in (name, name.lower(), name.upper())} == {name}
        assert find_offset(name.lower()) == find_offset(name)


@pytest.mark.parametrize(
    ("text", "name", "hours"),
    [
        ("utc", "UTC", 0),
        ("Z", "UTC", 0),
        ("+00:00", "UTC", 0),
        ("-00:00", "UTC", 0),
        ("+05:30", "+05:30", 5.5),
        ("+0530", "+05:30", 5.5),
        (" 05:30", "+05:30", 5.5),  # a URL has turned the + into a space
        ("-03", "-03:00", -3),
        ("\u221203:00", "-03:00", -3),  # a minus sign of typographers
        ("+14:00", "+14:00", 14),
        ("europe/berlin", "Europe/Berlin", 2),
        ("ETC/GMT-3", "Etc/GMT-3", 3),
    ],
)
def test_utc_and_fixed_offsets_have_one_name_each(text, name, hours):
    assert get_zone_name(text) == name
    assert find_offset(text) == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("Asia/Calcutta", "Asia/Kolkata"),
        ("Asia/Katmandu", "Asia/Kathmandu"),
        ("Asia/Saigon", "Asia/Ho_Chi_Minh"),
        ("Asia/Rangoon", "Asia/Yangon"),
        ("Europe/Kiev", "Europe/Kyiv"),
        ("America/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("America/Indianapolis", "America/Indiana/Indianapolis"),
        ("America/Godthab", "America/Nuuk"),
        ("America/Coral_Harbour", "America/Atikokan"),
        ("Atlantic/Faeroe", "Atlantic/Faroe"),
        ("Pacific/Enderbury", "Pacific/Kanton"),
        ("US/Pacific-New", "America/Los_Angeles"),
        ("Canada/East-Saskatchewan", "America/Regina"),
        ("Etc/UTC", "UTC"),
        ("GMT", "UTC"),
    ],
)
def test_the_names_that_browsers_report_are_zones(alias, name):
    assert find_offset(alias) == find_offset(name)


@pytest.mark.parametrize(
    "name",
    [
        *["", "Europe", "Europe/Atlantis", "../etc/passwd", "/etc/localtime", "x" * 5000, "Etc/Unknown", "GMT+2"],
        *["+24:00", "+05:60", "+5", "5:30", "+05:30:00", "++05:30", " ", "+", "\u0130STANBUL", "+\u0660\u0665:30"],
    ],
)
def test_an_unknown_zone_is_refused_by_name(name):
    with pytest.raises(InvalidQuery) as caught:
        get_zone(name)
    assert (caught.value.field, caught.value.code) == ("tz", "unknown_time_zone")
