"""The catalogue takes exactly the ids that events can carry."""

import msgspec
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from viewcounter.catalogue.models import Channel, Video
from viewcounter.events.message import VideoId


def can_be_carried(text):
    try:
        msgspec.convert(text, VideoId)
    except msgspec.ValidationError:
        return False
    return True


def is_valid(field, text):
    try:
        field.clean(text, None)
    except ValidationError:
        return False
    return True


@given(text=st.text(max_size=140) | st.text("a/ \x00\n\u2028\ud800\xa0é🎬", max_size=4))
def test_an_id_is_valid_if_and_only_if_an_event_can_carry_it(text):
    for field in (Video._meta.get_field("video_id"), Channel._meta.get_field("channel_id")):
        assert is_valid(field, text) == can_be_carried(text)
