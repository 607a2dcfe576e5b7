"""For gunicorn."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "viewcounter.operations.bench.peers.settings")
application = get_wsgi_application()
