"""The web process: the lanes in front, Django behind them."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "viewcounter.settings")
_django = get_asgi_application()

# Models may be imported only after Django is set up.
from viewcounter.api.hot_reads import HotReads  # noqa: E402
from viewcounter.gateway.application import Gateway  # noqa: E402
from viewcounter.presence import start_gateway_heartbeat  # noqa: E402

application = Gateway(_django, start_heartbeat=start_gateway_heartbeat, build_reads=HotReads)
