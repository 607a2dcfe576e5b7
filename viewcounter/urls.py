"""All routes but `POST /v1/events`, which the gateway lane answers before Django is asked."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("viewcounter.api.urls")),
]
