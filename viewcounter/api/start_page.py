"""The page at the address of a web process, with links to what it serves, and the files that browsers request.

Plain HTML without a script. The policy has the digest of its style, so that no other style can be injected.
"""

from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import cache, wraps
from hashlib import sha256
from html import escape

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from runtime.http.problems import Problem
from viewcounter import __version__
from viewcounter.api.errors import build_problem_response
from viewcounter.config import get_config

METHODS = ("GET", "HEAD")
PAGE_SECONDS = 60
"""How long browsers may cache the page, which names the release."""
BROWSER_FILES_SECONDS = 86_400

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:0 auto;padding:2rem 1rem}
h1{font-size:1.5rem;margin:0}
dl{margin:1.5rem 0}dt{font-weight:600;margin-top:.8rem}dd{margin:0}
footer{font-size:.9rem}
"""
_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

View = Callable[[HttpRequest], HttpResponse]


def read_only(view: View) -> View:
    """Other methods are refused as everywhere else."""

    @wraps(view)
    def answer(request: HttpRequest) -> HttpResponse:
        if request.method in METHODS:
            return view(request)
        problem = Problem(405, "method_not_allowed", f'Method "{request.method}" not allowed.')
        response = build_problem_response(request, problem)
        response["Allow"] = ", ".join(METHODS)
        return response

    exempt: View = csrf_exempt(answer)  # else other methods are refused as forged forms, in HTML
    return exempt


@read_only
def show_start_page(_request: HttpRequest) -> HttpResponse:
    """`GET /`."""
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": f"max-age={PAGE_SECONDS}"}
    return HttpResponse(_render_own(), headers=headers)


@read_only
def show_no_icon(_request: HttpRequest) -> HttpResponse:
    """`GET /favicon.ico`: an empty answer that browsers cache."""
    return HttpResponse(status=204, headers={"Cache-Control": f"max-age={BROWSER_FILES_SECONDS}"})


@read_only
def show_robots(_request: HttpRequest) -> HttpResponse:
    """`GET /robots.txt`: nothing here is for search engines."""
    headers = {"Cache-Control": f"max-age={BROWSER_FILES_SECONDS}"}
    return HttpResponse("User-agent: *\nDisallow: /\n", content_type="text/plain; charset=utf-8", headers=headers)


def render_start_page(*, has_api: bool, has_admin: bool, version: str) -> str:
    """With links to what the process serves."""
    links = "\n".join(
        f'<dt><a href="{address}">{title}</a></dt><dd>{text}</dd>'
        for address, title, text in _list_links(has_api=has_api, has_admin=has_admin)
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>viewcounter</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>viewcounter</h1>
<p>Counts events on videos, and answers how many there were.</p>
<dl>
{links}
</dl>
</main>
<footer>Version {escape(version)}</footer>
</body>
</html>
"""


def _list_links(*, has_api: bool, has_admin: bool) -> Iterator[tuple[str, str, str]]:
    if has_api:
        yield "/videos/", "Counts", "Videos and channels with charts, for users with a password and by links."
        yield "/v1/docs", "API documentation", "Every request and answer, to read and to try out."
        yield "/v1/schema", "OpenAPI document", "The same for programs that make clients."
    if has_admin:
        yield "/admin/", "Admin", "Shards, moves, API keys and the catalogue, for users with a password."
    if has_api:
        yield "/readyz", "Status", "Each part of the cluster by name, with the reason where it is not up."
    yield "/healthz", "Health", "Whether this process answers."


@cache
def _render_own() -> str:
    admin = get_config().admin
    return render_start_page(has_api=admin != "only", has_admin=admin != "none", version=__version__)
