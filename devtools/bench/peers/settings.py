"""Django settings of the compared application: for production, and lighter than most.

No authentication, permissions, sessions or throttling, all of which viewcounter has; connections are persistent. libpq
reads the address of the database from PGHOST, PGPORT, PGUSER and PGPASSWORD.
"""

import os

SECRET_KEY = os.environ["PEERS_SECRET_KEY"]
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "devtools.bench.peers.urls"
INSTALLED_APPS = ["rest_framework", "devtools.bench.peers"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]  # sets Content-Length
DATABASE = "peers"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": DATABASE, "CONN_MAX_AGE": None}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "UNAUTHENTICATED_USER": None,
}
