"""The web server: `python -m gunicorn -c python:openvolt_events.gunicorn_settings`."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "openvolt_events.settings")

wsgi_app = "openvolt_events.wsgi"
worker_class = "openvolt_events.web.Worker"
logger_class = "openvolt_events.web.Log"
workers = 2
threads = 8
worker_connections = 400  # each a file: a process may often open no more than 1024
keepalive = 10  # seconds
graceful_timeout = 5  # seconds
loglevel = "warning"
control_socket_disable = True
# By these gunicorn lets whoever is on this machine, as a proxy may be, move a request to another path or scheme.
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
