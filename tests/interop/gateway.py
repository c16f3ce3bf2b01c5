"""The gateway under test as a process."""

import asyncio
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def program():
    """FIELDGATE_BIN, or the newer of the two that cargo builds."""
    if os.environ.get("FIELDGATE_BIN"):
        return Path(os.environ["FIELDGATE_BIN"]).resolve()
    built = [p for p in (ROOT / "target/debug/fieldgate", ROOT / "target/release/fieldgate") if p.exists()]
    if not built:
        raise SystemExit("no gateway to test: run `cargo build` or set FIELDGATE_BIN")
    return max(built, key=lambda p: p.stat().st_mtime)


class Gateway:
    """`fieldgate run CONFIG` in a folder of its own."""

    def __init__(self, folder, config, http_port=None, env=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "gateway.toml"
        self.file.write_text(config)
        self.log = self.folder / "gateway.log"
        self.http_port = http_port
        self.env = {**os.environ, **(env or {})}
        self.process = None

    def start(self):
        """Starts it; does not wait."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([program(), "run", self.file], cwd=self.folder, env=self.env,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def pid(self):
        """The process's number."""
        return self.process.pid if self.process else None

    def is_running(self):
        """Whether it has not ended by itself."""
        return self.process is not None and self.process.poll() is None

    async def end(self, how=signal.SIGTERM, seconds=15):
        """Sends the signal; gives exit code and how long it took. Killed after the deadline."""
        began = time.monotonic()
        self.process.send_signal(how)
        while self.process.poll() is None:
            if time.monotonic() - began > seconds:
                self.process.kill()
                self.process.wait()
                break
            await asyncio.sleep(0.01)
        code, took = self.process.returncode, time.monotonic() - began
        self.process = None
        return code, took

    def cleanup(self):
        """Whatever happened: it does not outlive the test."""
        if self.is_running():
            self.process.kill()
            self.process.wait()

    async def get(self, path):
        """HTTP status and body; status 0 where nothing answers."""
        return await asyncio.get_running_loop().run_in_executor(None, self._get, path)

    def _get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=3) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    async def counter(self, name, label):
        """A number of /metrics by its name and one of its labels; -1 where it is not there."""
        page = (await self.get("/metrics"))[1]
        lines = [line for line in page.splitlines() if line.startswith(name + "{") and f'"{label}"' in line]
        return int(float(lines[0].split()[-1])) if lines else -1

    def tail(self, lines=30):
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
