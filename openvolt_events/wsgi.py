"""The web application, for any WSGI server."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

GUNICORN_GIVES_UP = 4  # its "app failed to load"; with another code it would start workers for ever

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "openvolt_events.settings")
try:
    application = get_wsgi_application()
except ImproperlyConfigured as error:
    sys.stderr.write(f"Wrong setting: {error}\n")
    sys.exit(GUNICORN_GIVES_UP)
