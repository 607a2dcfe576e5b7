"""What an unknown path may have meant."""

import pytest
from django.test import Client

from viewcounter.api.suggestions import PATH_MAX_CHARACTERS, find_similar_path

ROUTES = ["healthz", "v1/docs", "v1/videos/<str:video_id>", "v1/videos/<str:video_id>/counts", "v1/top"]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/videos/X/count", "/v1/videos/X/counts"),
        ("/v1/video/aaaaaaaaaaaaaaaaaaaaaaa/counts/", "/v1/videos/aaaaaaaaaaaaaaaaaaaaaaa/counts"),
        ("/videos/X/counts", "/v1/videos/X/counts"),
        ("/V1/Videos/X", "/v1/videos/X"),
        ("/docs", "/v1/docs"),
        ("/health", "/healthz"),
        ("/", None),
        ("/v1/orders/7/lines", None),
        ("/v1/videos/X/counts/7", None),
        ("/v1/videos/" + "X" * PATH_MAX_CHARACTERS + "/count", None),
    ],
)
def test_an_unknown_path_is_compared_with_the_routes_by_their_fixed_segments(path: str, meant: str | None) -> None:
    assert find_similar_path(path, ROUTES) == meant


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        (
            "/v1/videos/XpVt6Z1Gjjo/count",
            "There is nothing at this address. Did you mean /v1/videos/XpVt6Z1Gjjo/counts? All addresses: /v1/docs.",
        ),
        ("/wp-login.php", "There is nothing at this address. All addresses: /v1/docs."),
    ],
)
def test_the_service_suggests_a_route_that_it_has(path: str, detail: str) -> None:
    answer = Client().get(path, headers={"host": "localhost"})
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert answer.json()["detail"] == detail
