"""Which key tells a viewer apart: by the day of the event, on every gateway alike, through any change of the keys."""

from datetime import UTC, date, datetime

import pytest

from viewcounter.events.viewer import ViewerDigest, derive_viewer_key
from viewcounter.events.viewer_keys import REREAD_SECONDS, ViewerNumbers, parse_viewer_keys

OLD, NEW, NEWEST = "o" * 32, "n" * 40, "z" * 50
TODAY = date(2026, 12, 1)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def digest(secret: str) -> int:
    return ViewerDigest(derive_viewer_key(secret)).get_number("ada")


class Gateway:
    """Its file, its clock, and what it was told of."""

    def __init__(self, text: str) -> None:
        self.text, self.now, self.changes = text, 0.0, []
        self.viewers = ViewerNumbers(
            lambda: self.text,
            clock=lambda: self.now,
            get_today=lambda: TODAY,
            on_change=lambda keys, gone: self.changes.append((set(keys), set(gone))),
        )

    def write(self, text: str) -> None:
        self.text = text
        self.now += REREAD_SECONDS

    def get(self, when: str) -> int:
        return self.viewers.get_number("ada", at(when))


def test_an_event_takes_the_key_of_its_day_to_the_microsecond():
    gateway = Gateway(f"{OLD}\n2026-12-03 {NEW}\n2026-12-05 {NEWEST}\n")
    boundary = at("2026-12-03T00:00")
    assert gateway.viewers.get_number("ada", boundary - 1) == digest(OLD)
    assert gateway.viewers.get_number("ada", boundary) == digest(NEW)
    assert gateway.get("1960-01-01") == digest(OLD)
    assert gateway.get("2026-12-04T23:59:59") == digest(NEW)
    assert gateway.get("2030-01-01") == digest(NEWEST)


def test_gateways_that_read_the_new_key_at_different_times_agree():
    one, other = Gateway(OLD), Gateway(OLD)
    times = ["2026-12-01T12:00", "2026-12-02T23:59:59"]
    before = [one.get(when) for when in times]
    one.write(f"{OLD}\n2026-12-03 {NEW}")
    assert [one.get(when) for when in times] == [other.get(when) for when in times] == before
    other.write(f"{OLD}\n2026-12-03 {NEW}")
    assert one.get("2026-12-03") == other.get("2026-12-03") == digest(NEW)
    assert one.get("2026-12-01T12:00") == before[0]  # late, or sent again


def test_a_file_that_becomes_invalid_changes_nothing_and_is_reported_once(caplog):
    gateway = Gateway(OLD)
    gateway.write(f"{OLD}\ntomorrow {NEW}")
    assert (gateway.get("2030-01-01"), gateway.get("2030-01-01")) == (digest(OLD), digest(OLD))
    gateway.write(gateway.text)
    gateway.get("2030-01-01")
    assert caplog.text.count("stay those read before: line 2") == 1
    assert NEW not in caplog.text and OLD not in caplog.text


@pytest.mark.parametrize("day", ["2026-12-01", "2026-11-30"])
def test_a_key_that_comes_after_its_day_has_begun_is_reported(day, caplog):
    """Gateways that read it before and after that moment disagree about the viewers of the time between."""
    gateway = Gateway(OLD)
    gateway.write(f"{OLD}\n{day} {NEW}")
    assert gateway.get("2026-12-01") == digest(NEW)
    assert "may count twice. Give a key a day from 2026-12-02 on" in caplog.text


def test_keys_that_come_and_go_are_shown_by_fingerprint():
    gateway = Gateway(OLD)
    gateway.get("2026-12-01")
    assert gateway.changes == []
    gateway.write(f"{OLD}\n2026-12-03 {NEW}")
    gateway.get("2026-12-01")
    old, new = (ViewerDigest(derive_viewer_key(secret)).key_fingerprint for secret in (OLD, NEW))
    gateway.write(NEW)
    gateway.get("2026-12-01")
    assert gateway.changes == [({old, new}, set()), ({new}, {old})]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("short", "the secret of key 1 has fewer"),
        (f"{OLD}\n2026-12-03 short", "the secret of key 2 has fewer"),
        (f"{OLD}\n{NEW}", "line 2 does not begin with a day"),
        (f"{OLD}\n2026-13-03 {NEW}", "line 2 does not begin with a day"),
        (f"{OLD}\n2026-12-03 {NEW}\n2026-12-03 {NEWEST}", "line 3 begins with 2026-12-03, which is not after"),
        ("", "the secret of key 1 has fewer"),
    ],
)
def test_a_bad_list_of_keys_is_refused_by_its_line_without_a_secret(text, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        parse_viewer_keys(text)
    assert not any(secret in str(caught.value) for secret in (OLD, NEW, NEWEST))


def test_empty_lines_and_space_at_the_ends_do_not_matter():
    assert parse_viewer_keys(f"{OLD}\n\n 2026-12-03   {NEW} \n") == parse_viewer_keys(f"{OLD}\n2026-12-03 {NEW}")
