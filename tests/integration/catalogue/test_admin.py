"""The catalogue in the admin: changes made there reach the shards like all others."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from viewcounter.catalogue.changes import ChannelEntry, VideoEntry, put_channel, put_video
from viewcounter.catalogue.models import Channel, Video


@pytest.fixture
def admin(empty_catalogue):
    user = User.objects.create_superuser("catalogue-tester", password="x" * 20)
    client = Client()
    client.force_login(user)
    yield client
    user.delete()


def test_a_video_saved_in_the_admin_gets_a_new_revision(admin):
    put_channel(ChannelEntry("c1", "One"))
    added = admin.post("/admin/catalogue/video/add/", {"video_id": "v1", "title": "Cats", "channel": "c1"})
    assert added.status_code == 302
    first = Video.objects.get(pk="v1")
    assert (first.title, first.channel_id) == ("Cats", "c1")
    assert first.revision > Channel.objects.get(pk="c1").revision
    admin.post("/admin/catalogue/video/v1/change/", {"title": "Dogs", "channel": ""})
    second = Video.objects.get(pk="v1")
    assert (second.title, second.channel_id) == ("Dogs", None)
    assert second.revision > first.revision


def test_a_channel_saved_in_the_admin_gets_a_new_revision(admin):
    admin.post("/admin/catalogue/channel/add/", {"channel_id": "c1", "title": "One"})
    first = Channel.objects.get(pk="c1")
    admin.post("/admin/catalogue/channel/c1/change/", {"title": "Two"})
    second = Channel.objects.get(pk="c1")
    assert (first.title, second.title) == ("One", "Two")
    assert second.revision > first.revision


def test_an_id_that_no_event_can_carry_cannot_be_saved(admin):
    response = admin.post("/admin/catalogue/video/add/", {"video_id": "a b", "title": "Cats", "channel": ""})
    assert response.status_code == 200
    assert Video.objects.count() == 0


def test_videos_are_found_by_id_title_and_channel_and_never_deleted(admin):
    put_channel(ChannelEntry("c1", "Vlogs"))
    put_video(VideoEntry("v1", "Cats", "c1"))
    put_video(VideoEntry("v2", "Dogs", None))
    for words, found in (("v2", "v2"), ("Cats", "v1"), ("vlogs", "v1")):
        page = admin.get("/admin/catalogue/video/", {"q": words}).content.decode()
        assert [v for v in ("v1", "v2") if f"/admin/catalogue/video/{v}/change/" in page] == [found]
    assert admin.post("/admin/catalogue/video/v1/delete/", {"post": "yes"}).status_code == 403
    assert Video.objects.count() == 2
