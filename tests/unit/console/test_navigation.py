"""The navigation names every page of the console once, in groups by task."""

from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.test import RequestFactory

from viewcounter.console.site import GROUPS, ConsoleSite


class Everybody(AnonymousUser):
    """May see every page, without a table of users."""

    is_active = is_staff = is_superuser = True

    def has_perm(self, *_: object) -> bool:
        return True

    def has_module_perms(self, *_: object) -> bool:
        return True


class Nobody(Everybody):
    def has_perm(self, *_: object) -> bool:
        return False


def list_pages(user: AnonymousUser) -> list[dict]:
    request = RequestFactory().get("/admin/")
    request.user = user
    return admin.site.get_app_list(request)


def test_the_console_is_the_admin_site():
    assert admin.site.__class__ is ConsoleSite
    assert admin.site.site_header == "viewcounter console"


def test_every_page_has_a_group_and_every_entry_a_page():
    admin.autodiscover()
    groups = list_pages(Everybody())
    assert [group["name"] for group in groups] == [title for title, _ in GROUPS]
    named = [model["name"] for group in groups for model in group["models"]]
    assert named == [name for _, entries in GROUPS for _, name in entries]


def test_a_user_without_permissions_sees_no_page():
    assert list_pages(Nobody()) == []
