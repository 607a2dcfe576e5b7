"""The web process: ingest and fast reads in front, Django behind them. With `admin=only`: Django's admin alone."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "viewcounter.settings")
_django = get_asgi_application()

# Models may be imported only after Django is set up.
from viewcounter.api.public.endpoint import build_reads  # noqa: E402
from viewcounter.apikeys.key_copy import get_key_copy  # noqa: E402
from viewcounter.config import get_config  # noqa: E402
from viewcounter.health.registration import start_admin_heartbeat, start_gateway_heartbeat  # noqa: E402
from viewcounter.web.admin_process import AdminProcess  # noqa: E402
from viewcounter.web.application import Gateway  # noqa: E402
from viewcounter.web.request_log import RequestLog  # noqa: E402

_process: AdminProcess | Gateway
if get_config().admin == "only":
    _process = AdminProcess(_django, config=get_config(), start_heartbeat=start_admin_heartbeat)
else:
    _process = Gateway(
        _django, start_heartbeat=start_gateway_heartbeat, build_reads=build_reads, key_copy=get_key_copy()
    )
application = RequestLog(_process, access_log=get_config().access_log)
