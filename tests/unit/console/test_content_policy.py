"""Pages for people run no script of another origin and no inline script; other answers are left alone."""

import re
from pathlib import Path

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from viewcounter import console
from viewcounter.console.content_policy import HEADER, POLICY, ContentPolicy

TEMPLATES = sorted((Path(console.__file__).parent / "templates").rglob("*.html"))
INLINE = re.compile(r"<style|\sstyle=|\son[a-z]+=|hx-on|<script(?![^>]*\ssrc=)(?![^>]*application/json)", re.IGNORECASE)


def answer(path: str, response: HttpResponse) -> HttpResponse:
    return ContentPolicy(lambda _: response)(RequestFactory().get(path))


@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/videos/", "/channels/a"])
def test_a_page_has_the_policy(path):
    assert answer(path, HttpResponse()).headers[HEADER] == POLICY


def test_a_policy_of_a_page_s_own_stays():
    response = HttpResponse(headers={HEADER: "default-src 'none'"})
    assert answer("/admin/", response).headers[HEADER] == "default-src 'none'"


def test_an_answer_of_the_api_has_none():
    assert HEADER not in answer("/v1/docs", HttpResponse()).headers


def test_the_policy_allows_no_inline_script():
    assert "unsafe" not in POLICY
    assert "default-src 'none'" in POLICY


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_needs_what_the_policy_forbids(path):
    assert INLINE.findall(path.read_text()) == []


def test_what_the_policy_forbids_is_found():
    assert all(INLINE.search(text) for text in ('<p style="x">', "<script>x()</script>", '<a onclick="x()">'))
