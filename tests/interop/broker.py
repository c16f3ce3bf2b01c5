"""Debian's mosquitto on a loopback port, with its own words about every packet in a log."""

import asyncio
import getpass
import re
import shutil
import subprocess
from pathlib import Path

from check import listens, until

PROGRAM = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


class Broker:
    """Started, stopped and killed by the tests. A subscriber's session outlives it, with all that is queued."""

    def __init__(self, folder, port):
        self.folder = Path(folder)
        self.port = port
        self.process = None
        self.log = self.folder / "mosquitto.log"
        self.config = self.folder / "mosquitto.conf"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(f"""\
listener {port} 127.0.0.1
allow_anonymous true
user {getpass.getuser()}
log_type all
log_dest stderr
max_queued_messages 0
queue_qos0_messages true
persistence true
persistence_location {self.folder}/
autosave_interval 1
autosave_on_changes true
""")

    async def start(self):
        """Listens when this returns."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([PROGRAM, "-c", str(self.config)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        if await until(lambda: listens(self.port) or self.process.poll() is not None, 10) and listens(self.port):
            return
        if self.process.poll() is not None:
            raise RuntimeError(f"mosquitto ended: {self.log.read_text()[-500:]}")
        raise RuntimeError("mosquitto does not listen")

    async def stop(self, kill=False):
        """SIGTERM or SIGKILL; gone when this returns."""
        if self.process:
            self.process.kill() if kill else self.process.terminate()
            await asyncio.get_running_loop().run_in_executor(None, self.process.wait)
            self.process = None

    def received(self, client):
        """What the broker says it received from a client: (QoS, retained, topic) of each PUBLISH."""
        pattern = re.compile(rf"Received PUBLISH from {re.escape(client)} \(d\d, q(\d), r(\d), m\d+, '([^']*)'")
        return [(int(q), int(r), topic) for q, r, topic in pattern.findall(self.log.read_text(errors="replace"))]

    def wills(self):
        """(QoS, retained, topic) of each will that came with a CONNECT."""
        pattern = re.compile(r"Will message specified \(\d+ bytes\) \(r(\d), q(\d)\)\.\s+\S*\s*(\S+)")
        return [(int(q), int(r), topic) for r, q, topic in pattern.findall(self.log.read_text(errors="replace"))]

    def clients(self):
        """Names of the clients that connected, in their order."""
        return re.findall(r"New client connected from \S+ as (\S+) \(", self.log.read_text(errors="replace"))
