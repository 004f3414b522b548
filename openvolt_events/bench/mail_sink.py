"""A mail server that takes everything and keeps nothing, in a process of its own. `STAT` tells how much, and when."""

import asyncio
import sys
import time

from aiosmtpd.smtp import SMTP, Envelope, Session


class Sink:
    """Handler of aiosmtpd."""

    def __init__(self) -> None:
        self.taken = 0
        self.first = self.last = 0.0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.taken += 1
        self.last = time.monotonic()
        self.first = self.first or self.last
        return "250 taken"


class Server(SMTP):
    event_handler: Sink

    async def smtp_STAT(self, argument: str | None) -> None:
        sink = self.event_handler
        await self.push(f"250 {sink.taken} {sink.last - sink.first:.6f}")


async def main(port: int) -> None:
    sink = Sink()
    server = await asyncio.get_running_loop().create_server(lambda: Server(sink), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
