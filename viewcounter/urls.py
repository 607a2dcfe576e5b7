"""All routes but `POST /v1/events`, which the gateway lane answers before Django is asked."""

from django.contrib import admin
from django.urls import include, path

from viewcounter.api import errors

admin.autodiscover()

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("viewcounter.api.urls")),
]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.page_not_found
handler500 = errors.server_error
