"""Django settings: everything that Django itself needs, derived from `viewcounter.config`."""

from django.core.exceptions import ImproperlyConfigured

from runtime.logs import build_logging
from shardproxy.errors import InsecureConnection
from shardproxy.tls import find_stray_variables
from viewcounter import __version__
from viewcounter.api.settings import REST_FRAMEWORK, SPECTACULAR_SETTINGS
from viewcounter.commands.installed_apps import INSTALLED_APPS
from viewcounter.config import get_config
from viewcounter.config.project import PROJECT_ROOT

__all__ = ["INSTALLED_APPS", "REST_FRAMEWORK", "SPECTACULAR_SETTINGS"]

_config = get_config()

if _stray := find_stray_variables():
    raise ImproperlyConfigured(
        f"{', '.join(_stray)}: libpq would use this for every connection to a database, whatever the settings say."
        " Unset it, and set VIEWCOUNTER_CONTROL_DATABASE_SSLMODE, VIEWCOUNTER_CONTROL_DATABASE_TLS_...,"
        " VIEWCOUNTER_POOL_TLS_... and the SSL mode of each instance instead (docs/operations/tls.md)."
    )
_control_database = _config.control_database
try:
    _control_database.list_addresses()
    _CONTROL_DATABASE_LINK = _control_database.build_link_parameters(
        connect_seconds=_config.pool.connect_timeout_seconds
    )
except InsecureConnection as error:
    raise ImproperlyConfigured(f"VIEWCOUNTER_CONTROL_DATABASE_SSLMODE: {error}") from error
except ValueError as error:
    raise ImproperlyConfigured(f"VIEWCOUNTER_CONTROL_DATABASE_PORT: {error}") from error

DEBUG = _config.debug
SECRET_KEY = _config.secret_key.get_secret_value()
ALLOWED_HOSTS = list(_config.site.allowed_hosts)
SILENCED_SYSTEM_CHECKS = list(_config.silenced_checks)

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "viewcounter.console.content_policy.ContentPolicy",
    "viewcounter.web.admin_unavailable.AdminUnavailable",
]

ROOT_URLCONF = "viewcounter.urls"
ASGI_APPLICATION = "viewcounter.web.asgi.application"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# The config service depends on nobody: this is who connects for it and makes tables of new shards.
CLUSTER_TOOLS = "viewcounter.controlplane.cluster_tools.build_cluster_tools"

# Only the control database stands here. Shards are added by `migrate_shards` while it runs: their routing is
# the cluster proxy's, not the ORM's.
DATABASES = {
    "default": {
        "ENGINE": "viewcounter.controlplane.postgresql",
        "HOST": _control_database.host,
        "PORT": _control_database.port,
        "NAME": _control_database.name,
        "USER": _control_database.user,
        "PASSWORD": _control_database.password.get_secret_value().partition("\n")[0],  # for dbshell
        "READ_PASSWORD": _control_database.password.get_secret_value,
        "WAIT_SECONDS": _control_database.query_seconds + _control_database.silence_seconds,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **_CONTROL_DATABASE_LINK,
            "options": (
                f"-c statement_timeout={_control_database.query_seconds * 1000:.0f}"
                f" -c idle_in_transaction_session_timeout={_control_database.idle_seconds * 1000:.0f}"
            ),
        },
    }
}
DATABASE_ROUTERS = ["viewcounter.storage.router.ShardRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CLUSTER_ID = _config.cluster.id
PASSWORD_REF_RULES = _config.pool.password_refs
TOPOLOGY_PUBLIC_KEYS = _config.cluster.topology_public_keys
TOPOLOGY_SIGNING_KEY_FILE = _config.configservice.signing_key_file
TOPOLOGY_CACHE_URL = _config.cache.url.get_secret_value()
SERVICE_VERSION = __version__
SERVICE_ZONE = _config.cluster.zone
SERVICE_HEARTBEAT_SECONDS = _config.service.heartbeat_seconds
SERVICE_LOST_SECONDS = _config.service.lost_seconds
SERVICE_FORGET_SECONDS = _config.service.forget_seconds

PASSWORD_HASHERS = ["viewcounter.web.passwords.PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

SECURE_SSL_REDIRECT = _config.site.https_only
SESSION_COOKIE_SECURE = _config.site.https_only
CSRF_COOKIE_SECURE = _config.site.https_only
SECURE_HSTS_SECONDS = 31_536_000 if _config.site.https_only else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _config.site.https_only
SECURE_HSTS_PRELOAD = _config.site.https_only
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _config.site.behind_tls_proxy else None
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SESSION_COOKIE_AGE = 8 * 3600
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = _config.request.max_bytes

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

LOGGING = build_logging(_config.log_level, _config.log_format)
BASE_DIR = PROJECT_ROOT
