"""`make demo`: a client of the running service that plays the platform, its customers and their receivers.

It knows the public HTTP API and nothing else of the service.
"""
