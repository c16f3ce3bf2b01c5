"""`fieldgate simulate` as a process: our devices for clients that others wrote."""

import asyncio
import json
from pathlib import Path

from gateway import program

SECONDS = 60  # until it serves


class Simulated:
    """The devices of a configuration file, served."""

    def __init__(self, folder, name, text, *flags):
        self.file = Path(folder) / f"{name}.toml"
        self.file.write_text(text)
        self.log = Path(folder) / f"{name}.log"
        self.flags = flags
        self.process = None
        self.address = None  # of its only link

    async def __aenter__(self):
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                program(), "simulate", self.file, "--json", "--for", "10m", *self.flags, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=log)
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), SECONDS)
            if not line:
                raise RuntimeError(f"fieldgate simulate {self.file} ended: {self.log.read_text()[-500:]}")
            (link,) = json.loads(line)["links"]
            self.address = link["address"]
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), 10)
            except asyncio.TimeoutError:
                self.process.kill()
                await self.process.wait()

    @property
    def port(self):
        """The TCP port."""
        return int(self.address.rsplit(":", 1)[1])
