"""A mail server that takes everything and keeps nothing, in a process of its own. `STAT` tells how much, and when."""

import asyncio
import sys
import time

ANSWERS = {b"DATA": b"354 go ahead\r\n", b"QUIT": b"221 bye\r\n"}


class Sink:
    def __init__(self) -> None:
        self.taken = 0
        self.first = self.last = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            writer.write(self.stat() if verb == b"STAT" else ANSWERS.get(verb, b"250 ok\r\n"))
            if verb == b"DATA":
                await reader.readuntil(b"\r\n.\r\n")
                self.note(time.monotonic())
                writer.write(b"250 taken\r\n")
            elif verb == b"QUIT":
                break
        writer.close()

    def note(self, now: float) -> None:
        self.taken += 1
        self.first = self.first or now
        self.last = now

    def stat(self) -> bytes:
        return f"250 {self.taken} {self.last - self.first:.6f}\r\n".encode()


async def main(port: int) -> None:
    server = await asyncio.start_server(Sink().serve, "127.0.0.1", port, limit=16 * 1024 * 1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
