"""libmodbus as a peer: the program of `libmodbus/peer.c`, which run.sh compiles, as server and as client."""

import asyncio

from gateway import ROOT

PROGRAM = ROOT / "target/interop-peers/libmodbus"
SECONDS = 20  # after which a command hangs
# What 3.1.6 has; function 43 it has neither as server nor as client.
FUNCTIONS = (1, 2, 3, 4, 5, 6, 15, 16, 17, 22, 23)
SERVER_ID = bytes([180, 0xFF]) + b"LMB3.1.6"


class Process:
    """The program, a line a command."""

    def __init__(self, *arguments):
        self.arguments = [str(a) for a in arguments]
        self.process = None

    async def start(self):
        """Ready when this returns."""
        self.process = await asyncio.create_subprocess_exec(
            PROGRAM, *self.arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20)
        if await self._line() != "ready":
            raise RuntimeError(f"libmodbus {self.arguments}: it did not start")

    async def _line(self):
        return (await asyncio.wait_for(self.process.stdout.readline(), SECONDS)).decode().strip()

    async def command(self, *words):
        """The words of the answer."""
        self.process.stdin.write((" ".join(str(int(w)) if not isinstance(w, str) else w for w in words) + "\n").encode())
        await self.process.stdin.drain()
        return (await self._line()).split()

    async def stop(self):
        """It ends when its input does."""
        if self.process:
            self.process.stdin.close()
            try:
                await asyncio.wait_for(self.process.wait(), 5)
            except asyncio.TimeoutError:
                self.process.kill()
                await self.process.wait()
            self.process = None


class Server(Process):
    """A server of libmodbus."""

    def __init__(self, *where):
        super().__init__("server", *where)

    async def load(self, areas):
        """Puts registers and bits from 0 on."""
        for area, values in areas.items():
            if values:
                await self._put(area, values)

    async def _put(self, area, values):
        # A line of a pipe is short enough for the program's buffer.
        for at in range(0, len(values), 1000):
            answer = await self.command("put", area, at, *values[at:at + 1000])
            if answer[0] != "=":
                raise RuntimeError(f"libmodbus: put {area}: {answer}")

    async def words(self, area, at, count):
        """What lies in registers now."""
        return [int(word) for word in (await self.command("get", area, at, count))[1:]]

    async def bits(self, area, at, count):
        """What bits say now."""
        return [word != 0 for word in await self.words(area, at, count)]

    async def asked(self):
        """The functions that it was asked."""
        return {int(code) for code in (await self.command("asked"))[1:]}


class Client(Process):
    """A client of libmodbus."""

    def __init__(self, *where):
        super().__init__("client", *where)

    async def ask(self, function, *numbers):
        """("=", values), ("exception", code) or ("error", words)."""
        kind, *rest = await self.command(function, *numbers)
        if kind == "error":
            return kind, " ".join(rest)
        return (kind, int(rest[0])) if kind == "exception" else (kind, [int(word) for word in rest])
