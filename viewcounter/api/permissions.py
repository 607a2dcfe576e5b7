"""Authorization: each view names the scope of each of its methods; a method without one is denied."""

from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import MethodNotAllowed, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from viewcounter.api.authentication import build_missing_key_error
from viewcounter.apikeys.errors import AdminUnconfirmed
from viewcounter.apikeys.scopes import AuthenticatedKey, Scope


class RequireScope(BasePermission):
    """Reads `view.required_scopes`: method -> scope. HEAD needs the scope of GET."""

    def has_permission(self, request: Request, view: Any) -> bool:
        key = request.auth
        if not isinstance(key, AuthenticatedKey):
            raise build_missing_key_error()
        if request.method not in view.allowed_methods:
            raise MethodNotAllowed(request.method)
        scopes: Mapping[str, Scope] = getattr(view, "required_scopes", {})
        check_scope(key, scopes.get("GET" if request.method == "HEAD" else request.method))
        return True


def check_scope(key: AuthenticatedKey, needed: Scope | None) -> None:
    """Raises PermissionDenied, or AdminUnconfirmed."""
    if needed in key.unconfirmed_scopes:
        raise AdminUnconfirmed
    if needed is None or needed not in key.scopes:
        wanted = f"the scope {needed}" if needed else "no scope that exists"
        raise PermissionDenied(f"This needs {wanted}; the key {key.prefix} lacks it.", code="missing_scope")
