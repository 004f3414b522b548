"""A receiver that costs little: one process, one event loop, as fast as Python answers HTTP.

The first step of a URL's path names a group of endpoints, `/healthy/7`; how a group behaves may change at any time.
"""

import asyncio
import os
import random
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Self

from openvolt_events.processes import Child

REPOSITORY = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 30
BACKLOG = 1024
ACCEPTED = b"HTTP/1.1 204 No Content\r\n\r\n"
FAILED = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
WEBHOOK = re.compile(rb"\r\nwebhook-id: *([^\r]+)", re.IGNORECASE)
EVENT = re.compile(rb"\r\nopenvolt-event-id: *([^\r]+)", re.IGNORECASE)


class Conduct(NamedTuple):
    """How the endpoints of a group behave: shares from 0 to 1 of all webhooks, and seconds before each answer."""

    failing: float = 0.0
    hanging: float = 0.0
    latency: float = 0.0


HEALTHY = Conduct()


class Arrival(NamedTuple):
    """One webhook that came. `at` is `time.monotonic`, which all processes of a machine share."""

    at: float
    group: str
    webhook_id: str
    event_id: str
    accepted: bool


class Ledger:
    """What has come, and how to answer it."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.accepted: Counter[str] = Counter()
        self.conducts: dict[str, Conduct] = {}

    def enter(self, head: bytes) -> tuple[bytes | None, float]:
        """The answer (None: never any) to a request, and after how many seconds; noted before it is given."""
        at, group = time.monotonic(), head.split(b" ", 2)[1].split(b"/", 2)[1].decode()
        conduct = self.conducts.get(group, HEALTHY)
        answer = None if happens(conduct.hanging) else FAILED if happens(conduct.failing) else ACCEPTED
        accepted = answer is ACCEPTED
        self.accepted[group] += accepted
        self.arrivals.append(Arrival(at, group, found(WEBHOOK, head), found(EVENT, head), accepted))
        return answer, conduct.latency


def happens(share: float) -> bool:
    return share > 0 and random.random() < share  # noqa: S311 - spreads answers, guards nothing


def found(header: re.Pattern[bytes], head: bytes) -> str:
    match = header.search(head)
    return match[1].decode() if match else ""


class Webhooks(asyncio.Protocol):
    """One connection: requests one after the other, each answered when its body is there."""

    def __init__(self, ledger: Ledger, open_ones: set[Any]) -> None:
        self.ledger = ledger
        self.open_ones = open_ones
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.open_ones.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.open_ones.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            length = LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < whole:
                return
            self.buffer = self.buffer[whole:]
            self.answer(head)

    def answer(self, head: bytes) -> None:
        answer, latency = self.ledger.enter(head)
        if answer is not None and latency:
            asyncio.get_running_loop().call_later(latency, self.transport.write, answer)
        elif answer is not None:
            self.transport.write(answer)


class Door:
    """Where webhooks come in. Shut, it is as if the receiver had died: connections are reset, new ones refused."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.connections: set[Any] = set()
        self.port = 0  # any, at first; later the same again

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(
            lambda: Webhooks(self.ledger, self.connections), "127.0.0.1", self.port, backlog=BACKLOG
        )
        self.port = self.server.sockets[0].getsockname()[1]

    def shut(self) -> None:
        self.server.close()
        for connection in list(self.connections):
            connection.abort()


async def serve(control: Connection) -> None:
    """Tells its port, then obeys until it is told to stop, or its owner is gone."""
    loop, door, commands = asyncio.get_running_loop(), Door(Ledger()), asyncio.Queue[Sequence[Any]]()
    await door.open()
    loop.add_reader(control.fileno(), lambda: commands.put_nowait(received(control)))
    control.send(door.port)
    while (command := await commands.get())[0] != "stop":
        control.send(await obey(command, door))
    door.server.close()


def received(control: Connection) -> Sequence[Any]:
    try:
        command: Sequence[Any] = control.recv()
    except (EOFError, OSError):
        return ["stop"]
    return command


async def obey(command: Sequence[Any], door: Door) -> Any:
    """Carry out one command, and return what it asks for."""
    ledger = door.ledger
    match command:
        case ["accepted", group]:
            return ledger.accepted[group]
        case ["take"]:
            taken, ledger.arrivals = ledger.arrivals, []
            return [tuple(arrival) for arrival in taken]
        case ["conduct", group, conduct]:
            ledger.conducts[group] = Conduct(*conduct)
        case ["die"]:
            door.shut()
        case ["rise"]:
            await door.open()
    return None


class Receiver:
    """The process from outside. It ends with the block, or with the thread that began it."""

    def __enter__(self) -> Self:
        self.lock = Lock()
        self.control, theirs = Pipe()
        self.process = Child(
            "receiver",
            [sys.executable, "-m", "openvolt_events.load.receiver", str(theirs.fileno())],
            os.environ | {"PYTHONPATH": str(REPOSITORY)},
            pass_fds=[theirs.fileno()],
        )
        self.nobody = socket.socket()
        self.nobody.bind(("127.0.0.1", 0))  # and never listens: who connects is refused
        self.process.start()
        theirs.close()
        try:
            self.port = self.answer(START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        self.process.kill()
        self.nobody.close()

    def answer(self, seconds: float = START_SECONDS) -> Any:
        if not self.control.poll(seconds):
            raise TimeoutError(f"The receiver has not answered within {seconds:g} s.")
        return self.control.recv()

    def ask(self, *command: object) -> Any:
        with self.lock:
            self.control.send(command)
            return self.answer()

    def url(self, group: str, number: int = 0) -> str:
        return f"http://127.0.0.1:{self.port}/{group}/{number}"

    def refusing_url(self, group: str, number: int = 0) -> str:
        """An address where connections are refused."""
        return f"http://127.0.0.1:{self.nobody.getsockname()[1]}/{group}/{number}"

    def conduct(self, group: str, conduct: Conduct) -> None:
        """How the group behaves from now on."""
        self.ask("conduct", group, tuple(conduct))

    def accepted(self, group: str) -> int:
        """How many webhooks the group has accepted since the start."""
        return int(self.ask("accepted", group))

    def die(self) -> None:
        """Reset all connections and refuse new ones, until `rise`. What came before is remembered."""
        self.ask("die")

    def rise(self) -> None:
        self.ask("rise")

    def take(self) -> Sequence[Arrival]:
        """All that came since the last time, in order."""
        return [Arrival(*arrival) for arrival in self.ask("take")]


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(Connection(int(sys.argv[1]))))
