"""The WSGI application of gunicorn."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "devtools.bench.peers.settings")
application = get_wsgi_application()
