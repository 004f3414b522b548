"""Baseline: the service with one more path, an authenticated DRF view that does nothing. These are its settings."""

from openvolt_events.settings import *  # noqa: F403

ROOT_URLCONF = "openvolt_events.bench.nothing_urls"
