"""`make run` begins here, and light: a Ctrl-C during the imports ends it without a traceback."""

import signal
import sys
from importlib import import_module

signal.signal(signal.SIGINT, signal.SIG_DFL)
sys.exit(import_module("openvolt_events.serve").main())
