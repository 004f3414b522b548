"""Openvolt Events: tells everyone who subscribed what happened on the platform."""

__version__ = "0.1.0"
