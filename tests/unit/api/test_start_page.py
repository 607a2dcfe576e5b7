"""The page at `/`, and what browsers and search engines ask for beside it."""

import re
from base64 import b64encode
from hashlib import sha256

import pytest
from django.contrib import admin
from django.test import Client

from viewcounter import __version__
from viewcounter.api.start_page import render_start_page


def list_links(page: str) -> list[str]:
    return re.findall(r'href="([^"]+)"', page)


def test_start_page_leads_to_docs_schema_admin_and_status_and_says_the_version():
    answer = Client().get("/", headers={"accept": "text/html"})
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/html; charset=utf-8")
    page = answer.content.decode()
    assert list_links(page) == ["/videos/", "/v1/docs", "/v1/schema", "/admin/", "/readyz", "/healthz"]
    assert f"Version {__version__}" in page
    assert '<html lang="en">' in page
    assert Client().head("/").content == b""
    assert admin.site.site_url == "/"  # "View site" on every page of the admin


def test_start_page_runs_no_script_and_no_style_but_its_own():
    answer = Client().get("/")
    page = answer.content.decode()
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = answer["Content-Security-Policy"].split("; ")
    assert policy[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    assert "frame-ancestors 'none'" in policy
    assert "<script" not in page and "style=" not in page


@pytest.mark.parametrize(
    ("has_api", "has_admin", "links"),
    [
        (True, False, ["/videos/", "/v1/docs", "/v1/schema", "/readyz", "/healthz"]),
        (False, True, ["/admin/", "/healthz"]),
    ],
)
def test_start_page_names_only_what_its_process_serves(has_api: bool, has_admin: bool, links: list[str]):
    assert list_links(render_start_page(has_api=has_api, has_admin=has_admin, version="1")) == links


def test_there_is_no_icon_and_browsers_may_remember_that():
    answer = Client().get("/favicon.ico")
    assert (answer.status_code, answer.content, answer["Cache-Control"]) == (204, b"", "max-age=86400")


def test_search_engines_are_sent_away():
    answer = Client().get("/robots.txt")
    assert (answer["Content-Type"], answer.content) == ("text/plain; charset=utf-8", b"User-agent: *\nDisallow: /\n")


def test_start_page_is_read_only_and_unknown_addresses_remain_problems():
    refused = Client(enforce_csrf_checks=True).post("/")
    assert (refused.status_code, refused.json()["code"], refused["Allow"]) == (405, "method_not_allowed", "GET, HEAD")
    assert Client().get("/nowhere").json()["code"] == "not_found"
