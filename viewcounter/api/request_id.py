"""The id of a request: in `X-Request-ID` of every response and in every error, as at the ingest endpoint."""

import re
import uuid

from django.http import HttpRequest

REQUEST_ID_HEADER = "X-Request-ID"
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")


def get_request_id(request: HttpRequest) -> str:
    """The caller's own id if it is short and plain, else a new one; the same for the whole request."""
    known: str | None = getattr(request, "viewcounter_request_id", None)
    if known is None:
        offered = request.headers.get(REQUEST_ID_HEADER, "")
        known = offered if _ACCEPTABLE.fullmatch(offered) else str(uuid.uuid4())
        request.viewcounter_request_id = known
    return known
