"""Django's INSTALLED_APPS. Not in the settings module, which needs a secret: `manage.py help` works without one."""

from importlib.util import find_spec

OTHER_APPS = (
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
)
OWN_APPS = (
    "configservice",
    "viewcounter.apikeys",
    "viewcounter.catalogue",
    "viewcounter.storage",
    "viewcounter.processing",
    "viewcounter.maintenance",
    "viewcounter.deadletters",
    "viewcounter.loglosses",
    "viewcounter.moves",
    "viewcounter.shardwatch",
    "viewcounter.controlplane",
    "viewcounter.api",
    "viewcounter.pages",
    *(("devtools",) if find_spec("devtools") else ()),
)
"""`devtools`, which a production host need not have, provides commands."""

INSTALLED_APPS = ("viewcounter.console", "viewcounter.web.admin_app.AdminConfig", *OTHER_APPS, *OWN_APPS)
"""The console first: its templates replace those of Django's admin."""
