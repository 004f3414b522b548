"""`manage.py load`: publishes and receives in one program, and accounts for every event.

The benchmark and the tests with killed processes are made of the same parts.
"""
