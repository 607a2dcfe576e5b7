"""Which requests are for web pages' numbers, their parameters, and the badge."""

from xml.etree import ElementTree

import pytest

from runtime.http.errors import Rejected
from viewcounter.api.public.badge import render_badge
from viewcounter.api.public.requests import PublicEndpoint, PublicRequest, find_public_endpoint, parse_parameters


@pytest.mark.parametrize(
    ("path", "query", "found"),
    [
        ("/v1/videos/cats/counts/stream", b"", (PublicEndpoint.STREAM, "cats")),
        ("/v1/videos/cats/badge.svg", b"", (PublicEndpoint.BADGE, "cats")),
        ("/v1/videos/cats/counts", b"key=vcp_x", (PublicEndpoint.COUNTS, "cats")),
        ("/v1/counts/query", b"key=vcp_x", (PublicEndpoint.COUNTS_QUERY, "")),
        ("/v1/videos/cats/counts", b"", None),
        ("/v1/counts/query", b"", None),
        ("/v1/videos/cats", b"key=vcp_x", None),
        ("/v1/videos/a/b/counts", b"key=vcp_x", None),
        ("/v1/videos/" + "x" * 500 + "/counts", b"key=vcp_x", None),
        ("/v1/videos/a b/counts", b"key=vcp_x", None),
    ],
)
def test_only_numbers_for_pages_are_answered_here(path, query, found):
    assert find_public_endpoint({"type": "http", "path": path, "query_string": query}) == found


def test_parameters_of_a_badge():
    found = parse_parameters(PublicEndpoint.BADGE, b"key=vcp_x&event_type=like&label=Likes+so+far")
    assert found == PublicRequest("vcp_x", "like", "Likes so far")


@pytest.mark.parametrize(
    ("endpoint", "query", "fields"),
    [
        (PublicEndpoint.STREAM, b"label=x&event_type=view", ["label", "event_type"]),
        (PublicEndpoint.BADGE, b"label=" + b"x" * 41 + b"&colour=red", ["colour", "label"]),
        (PublicEndpoint.COUNTS, b"key=a&key=b", [""]),
        (PublicEndpoint.COUNTS, b"&".join(b"key=%d" % i for i in range(11)), [""]),
    ],
)
def test_every_wrong_parameter_is_named(endpoint, query, fields):
    with pytest.raises(Rejected) as caught:
        parse_parameters(endpoint, query)
    assert [problem.field for problem in caught.value.problem.errors] == fields


def test_a_badge_is_an_image_whose_text_cannot_become_markup():
    image = ElementTree.fromstring(render_badge('<script>&"', 1_234_567))  # noqa: S314 - our own
    assert image.find("{http://www.w3.org/2000/svg}title").text == '<script>&": 1,234,567'
    assert image.get("aria-label") == '<script>&": 1,234,567'
    tags = {element.tag.rpartition("}")[2] for element in image.iter()}
    assert tags == {"svg", "title", "rect", "path", "g", "text"}
