"""Loaded before Django's settings are (`-p tests.environment`): unit tests need no server and no `.local`."""

import os

os.environ.setdefault("VIEWCOUNTER_SECRET_KEY", "only-for-tests-" + "x" * 40)
os.environ["VIEWCOUNTER_ENV_FILE"] = os.devnull
os.environ["VIEWCOUNTER_SITE_HTTPS_ONLY"] = "false"
os.environ["VIEWCOUNTER_ADMIN"] = "here"
os.environ["VIEWCOUNTER_READ_CACHE_ENABLED"] = "false"  # tests read back what they have just written
