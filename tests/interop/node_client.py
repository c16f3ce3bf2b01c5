"""node-opcua as OPC UA client: a process that takes commands as JSON lines. See node/client.js."""

import asyncio
import json
from pathlib import Path

from gateway import ROOT

NODE = ROOT / "target" / "interop-venv" / "bin" / "node"
CLIENT = ROOT / "target" / "interop-node" / "client.js"


class NodeClient:
    """One client; its certificate is that of `ua.make_certificate`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.log = None
        self.process = None

    async def start(self):
        """Starts the process."""
        self.log = (self.folder / "node-opcua.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            str(NODE), str(CLIENT), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=self.log, limit=64 * 1024 * 1024)
        return self

    async def ask(self, what, seconds=60, **given):
        """One command; its answer has `error` where it could not be done."""
        self.process.stdin.write((json.dumps({"do": what, **given}) + "\n").encode())
        await self.process.stdin.drain()
        line = await asyncio.wait_for(self.process.stdout.readline(), seconds)
        return json.loads(line) if line else {"error": "node-opcua ended"}

    async def connect(self, url, user=None, password=None, policy=None, what="connect", **given):
        """A session: over None and anonymous, or signed and encrypted with a user name."""
        secure = {} if policy is None else {"policy": policy, "mode": "SignAndEncrypt"}
        return await self.ask(
            what, url=url, user=user, password=password, pki=str(self.folder / "node-pki"),
            certificate=str(self.folder / "client.der"), key=str(self.folder / "client.pem"), **secure, **given)

    async def stop(self):
        """Ends it, whatever it does."""
        if self.process and self.process.returncode is None:
            self.process.stdin.close()
            try:
                await asyncio.wait_for(self.process.wait(), 5)
            except asyncio.TimeoutError:
                self.process.kill()
                await self.process.wait()
        if self.log:
            self.log.close()
