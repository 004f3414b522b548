"""TLS with receivers: whom we trust, and the sessions that new connections resume.

A resumed handshake (RFC 8446, section 2.2) shows no certificate, and OpenSSL verifies none again, not even for which
name it was: the session stands for the handshake in which that was done. So a session is resumed only where that
certificate would be verified in the same way (same settings, address, port and name), and only until an hour after, or
until the certificate expires; sessions that come of a resumed one inherit its end.
"""

import os
import ssl
import time
from collections import OrderedDict
from collections.abc import Hashable
from datetime import timedelta
from threading import Lock

import certifi
from urllib3.util.ssl_ import create_urllib3_context

MOST_SESSIONS = 1024
LONGEST_RESUMED = timedelta(hours=1)


def tls_context(ca_bundle: str) -> ssl.SSLContext:
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    context.load_verify_locations(certifi.where())
    if ca_bundle:
        context.load_verify_locations(ca_bundle)
    # urllib3 wants no tickets under TLS 1.2; without them few receivers resume anything.
    context.options &= ~ssl.OP_NO_TICKET
    context.sslsocket_class = ResumingSocket
    return context


class Sessions:
    """The latest session of each place, and until when it may be resumed (in seconds of the epoch)."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.kept: OrderedDict[Hashable, tuple[ssl.SSLSession, float]] = OrderedDict()

    def keep(self, place: Hashable, session: ssl.SSLSession, until: float) -> None:
        with self.lock:
            self.kept[place] = session, until
            self.kept.move_to_end(place)
            if len(self.kept) > MOST_SESSIONS:
                self.kept.popitem(last=False)

    def of(self, place: Hashable) -> tuple[ssl.SSLSession | None, float]:
        with self.lock:
            session, until = self.kept.get(place, (None, 0.0))
            return (session, until) if time.time() < until else (None, 0.0)

    def forget(self, place: Hashable) -> None:
        with self.lock:
            self.kept.pop(place, None)


sessions = Sessions()


class ResumingSocket(ssl.SSLSocket):
    """Resumes the session of an earlier connection to the same place, if there is one."""

    place: Hashable = None
    verified_until = 0.0
    is_kept = False

    def do_handshake(self, block: bool = False) -> None:
        self.place = self.context, self.getpeername()[:2], self.server_hostname
        session, until = sessions.of(self.place)
        if session:
            self.session = session
        try:
            super().do_handshake(block)
        except OSError as failure:
            sessions.forget(self.place)
            failure.resuming = session is not None  # type: ignore[attr-defined]
            raise
        self.verified_until = until if self.session_reused else self.trusted_until()

    def trusted_until(self) -> float:
        """For how long what was verified now holds."""
        certificate = self.getpeercert() or {}
        expires = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        return min(time.time() + LONGEST_RESUMED.total_seconds(), expires)

    def keep_session(self) -> None:
        """For the next connection. Under TLS 1.3 there is none until its ticket has come, with the first answer."""
        if self.is_kept or not self.verified_until:
            return
        session = self.session
        if session and (session.has_ticket or self.version() != "TLSv1.3"):
            sessions.keep(self.place, session, self.verified_until)
            self.is_kept = True


def was_resuming(failure: BaseException) -> bool:
    """Whether a handshake that was to resume a session was refused."""
    return bool(getattr(failure, "resuming", False)) and not isinstance(failure, TimeoutError)


def start_over() -> None:
    """The lock may be held just when the process forks; and the parent's sessions are for its own contexts."""
    global sessions
    sessions = Sessions()


os.register_at_fork(after_in_child=start_over)
