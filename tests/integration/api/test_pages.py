"""The pages of counts, on real shards: who may look, and what they show."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.test import Client

from tests.integration.queries.rows import MinuteRow, store_rows
from viewcounter.apikeys.authentication import get_key_cache
from viewcounter.apikeys.keys import create_key, revoke_key
from viewcounter.apikeys.scopes import KeyKind, Scope
from viewcounter.cache.process import find_read_cache
from viewcounter.catalogue.models import Channel, Video
from viewcounter.config import get_config

NOW = datetime.now(UTC)


@pytest.fixture
def look(api, monkeypatch):
    """A browser that was opened by a link. Cats: 3 views in the last hours."""
    find_read_cache.cache_clear()
    minute = (NOW - timedelta(hours=2)).replace(second=0, microsecond=0)
    store_rows(api.cluster, [MinuteRow("cats", 1, minute, (1000, 1000, 1000))], titles={"cats": "Cats & dogs"})
    channel = Channel.objects.create(channel_id="pets", title="Pets", revision=1)
    Video.objects.create(video_id="cats", title="Cats & dogs", channel=channel, revision=2)
    client = Client(headers={"host": "localhost"})
    client.cookies["viewcounter_link"] = make_link()
    return client


def make_link():
    return create_key("team", [Scope.STATS_READ], kind=KeyKind.LINK)[1]


PAGES = ["/videos/", "/videos/cats", "/videos/cats/live", "/videos/cats.csv", "/channels/", "/channels/pets"]


@pytest.mark.parametrize("path", PAGES)
def test_nobody_looks_without_a_link_or_a_log_in(look, path):
    answer = Client(headers={"host": "localhost"}).get(path)
    assert answer.status_code == 401
    assert "create_api_key NAME --link" in answer.content.decode()
    assert "Cats" not in answer.content.decode()


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_shown_to_readers_without_inline_scripts_and_is_not_cached(look, path):
    answer = look.get(path)
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    assert "script-src 'self'" in answer["Content-Security-Policy"]
    text = answer.content.decode()
    assert "<style" not in text and "style=" not in text and " onclick" not in text


def test_a_link_leaves_the_address_and_works_until_it_is_revoked(look):
    token = make_link()
    client = Client(headers={"host": "localhost"})
    answer = client.get(f"/videos/cats?period=24h&link={token}")
    assert (answer.status_code, answer["Location"]) == (302, "/videos/cats?period=24h")
    cookie = answer.cookies["viewcounter_link"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")
    assert client.get("/videos/cats").status_code == 200
    revoke_key(token.split("_")[1], now=datetime.now(UTC))
    get_key_cache().clear()
    assert client.get("/videos/cats").status_code == 401
    assert client.get(f"/videos/?link={token}").status_code == 401


def test_other_keys_open_no_page(look, api):
    for token in (api.tokens["stats:read"], "vcl_nonsense", ""):
        client = Client(headers={"host": "localhost"})
        assert client.get("/videos/", {"link": token}).status_code == 401
        client.cookies["viewcounter_link"] = token
        assert client.get("/videos/").status_code == 401


def test_a_link_reads_counts_and_nothing_else(look):
    with pytest.raises(ValidationError, match="A link has the scope stats:read and no other"):
        create_key("team", [Scope.STATS_READ, Scope.ADMIN], kind=KeyKind.LINK)


def test_users_of_the_admin_look_and_others_do_not(look, monkeypatch):
    monkeypatch.setenv("VIEWCOUNTER_ADMIN", "here")
    get_config.cache_clear()
    for is_staff, status in ((True, 200), (False, 401)):
        user = User.objects.create_user(f"user-{is_staff}", is_staff=is_staff)
        client = Client(headers={"host": "localhost"})
        client.force_login(user)
        assert client.get("/videos/").status_code == status
        user.delete()
    get_config.cache_clear()


def test_the_list_has_title_count_and_change_of_the_period(look):
    text = look.get("/videos/?period=24h").content.decode()
    assert '<a href="/videos/cats?event_type=view&amp;period=24h&amp;tz=UTC">Cats &amp; dogs</a>' in text
    assert '<td class="vc-number">3</td>' in text
    assert '<td class="vc-number up">new</td>' in text
    assert "Cats" not in look.get("/videos/?event_type=like").content.decode()


def test_a_search_finds_by_title_and_by_id(look):
    for search, is_found in (("dogs", True), ("cat", True), ("zebra", False)):
        assert ("Cats &amp; dogs" in look.get("/videos/", {"q": search}).content.decode()) is is_found


def test_a_video_shows_its_counts_and_its_channel(look):
    text = look.get("/videos/cats?period=24h").content.decode()
    assert "<h1>Cats &amp; dogs</h1>" in text
    assert '<a href="/channels/pets">Pets</a>' in text
    assert "<dt>view, all time</dt><dd>3</dd>" in text
    assert "Last 48 hours: 3" in text and "Last 60 minutes: 0" in text
    assert "misspelt" not in text
    assert "misspelt" in look.get("/videos/kats").content.decode()


def test_a_channel_shows_its_videos(look):
    text = look.get("/channels/pets").content.decode()
    assert '<a href="/videos/cats">Cats &amp; dogs</a>' in text
    assert look.get("/channels/none").status_code == 404


def test_the_csv_has_the_bars_of_both_periods(look):
    lines = look.get("/videos/cats.csv?period=24h").content.decode().splitlines()
    assert lines[0] == "period,start,view"
    assert len(lines) == 1 + 48
    hour = (NOW - timedelta(hours=2)).replace(minute=0, second=0, microsecond=0)
    assert f"current,{hour.isoformat()},3" in lines
    assert sum(int(line.rpartition(",")[2]) for line in lines[1:]) == 3


def test_choices_that_cannot_be_used_are_left_out(look):
    answer = look.get("/videos/cats?period=year&event_type=yawn&tz=Mars/Olympus")
    assert answer.status_code == 200
    assert 'value="UTC"' in answer.content.decode()


def test_the_admin_links_to_the_counts_of_what_it_shows():
    assert Video(video_id="a?b").get_absolute_url() == "/videos/a%3Fb"
    assert Channel(channel_id="pets").get_absolute_url() == "/channels/pets"
