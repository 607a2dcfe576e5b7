"""Says on pages of the admin that the control database does not answer, where Django would say "Server Error (500)"."""

import logging

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from viewcounter.web.django_shares import ADMIN_START

logger = logging.getLogger(__name__)

_TEXT = (
    "The control database does not answer. The admin needs it for log-ins, pages and changes; events are accepted and"
    " counted meanwhile. /readyz of a gateway names what does not work.\n"
)


class AdminUnavailable(MiddlewareMixin):
    """For exceptions of views, where sessions and users are first read. Other addresses answer for themselves."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not request.path.startswith(ADMIN_START) or not isinstance(exception, (InterfaceError, OperationalError)):
            return None
        logger.warning("%s needs the control database, which does not answer: %s", request.path, exception)
        return HttpResponse(_TEXT, status=503, content_type="text/plain; charset=utf-8", headers={"Retry-After": "5"})
