"""The applications that Django is made of here. Apart from its settings: `manage.py help` needs no secret."""

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
    "viewcounter.gateway",
    "viewcounter.catalogue",
    "viewcounter.storage",
    "viewcounter.processing",
    "viewcounter.api",
    "viewcounter.operations",
)
INSTALLED_APPS = ("viewcounter.admin_app.AdminConfig", *OTHER_APPS, *OWN_APPS)
