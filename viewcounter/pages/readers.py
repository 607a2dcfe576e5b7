"""Who may look at the pages: a user of the admin, or a browser that was opened by a link with a reading token.

The token comes once in the address and then in a cookie that scripts cannot read, so that it is in no history, log or
Referer afterwards. It is looked up at every request: a revoked one stops working within seconds.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from viewcounter.apikeys.authentication import authenticate, is_link_token
from viewcounter.apikeys.errors import InvalidKey
from viewcounter.apikeys.scopes import Scope
from viewcounter.config import get_config

PARAMETER = "link"
COOKIE = "viewcounter_link"
COOKIE_SECONDS = 30 * 86400
_PATH = "/"
View = Callable[..., HttpResponse]


def for_readers(view: View) -> View:
    """The view for readers only; a page that says how to become one for others."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if PARAMETER in request.GET:
            response = _enter(request)
        elif _is_reader(request):
            response = view(request, *args, **kwargs)
        else:
            response = _refuse(request)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return answer


def _enter(request: HttpRequest) -> HttpResponse:
    """Keeps the token of a link, and shows the same page without it in the address."""
    token = request.GET[PARAMETER]
    if not _is_valid(token):
        return _refuse(request)
    query = urlencode([(name, value) for name, value in request.GET.items() if name != PARAMETER])
    response = HttpResponseRedirect(f"{request.path}?{query}" if query else request.path)
    response.set_cookie(
        COOKIE,
        token,
        max_age=COOKIE_SECONDS,
        path=_PATH,
        httponly=True,
        samesite="Lax",
        secure=get_config().site.https_only,
    )
    return response


def _is_reader(request: HttpRequest) -> bool:
    """The link first: it needs no control database while the key is known."""
    token = request.COOKIES.get(COOKIE)
    if token is not None and _is_valid(token):
        return True
    user: Any = request.user
    return bool(get_config().admin == "here" and user.is_active and user.is_staff)


def _is_valid(token: str) -> bool:
    """Other tokens than those of links are not looked up: a secret key in an address is no longer secret."""
    if not is_link_token(token):
        return False
    try:
        return Scope.STATS_READ in authenticate(token).scopes
    except InvalidKey:
        return False


def _refuse(request: HttpRequest) -> HttpResponse:
    context = {
        "title": "Not signed in",
        "has_log_in": get_config().admin == "here",
        "has_link": PARAMETER in request.GET,
    }
    return render(request, "pages/refused.html", context, status=401)
