"""All routes but `POST /v1/events`, which the gateway lane answers before Django is asked."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from viewcounter.api import errors
from viewcounter.api.resources.health import HealthView
from viewcounter.api.start_page import show_no_icon, show_robots, show_start_page
from viewcounter.config import get_config
from viewcounter.web.log_in import log_in

if get_config().admin != "none":
    admin.autodiscover()

ADMIN: list[URLPattern | URLResolver] = [path("admin/login/", log_in), path("admin/", admin.site.urls)]
API: list[URLPattern | URLResolver] = [
    path("", include("viewcounter.api.urls")),
    path("", include("viewcounter.pages.urls")),
]
START: list[URLPattern | URLResolver] = [
    path("", show_start_page),
    path("favicon.ico", show_no_icon),
    path("robots.txt", show_robots),
]
HEALTH: list[URLPattern | URLResolver] = [path("healthz", HealthView.as_view())]

urlpatterns = START + {"none": API, "here": ADMIN + API, "only": ADMIN + HEALTH}[get_config().admin]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.page_not_found
handler500 = errors.server_error
