"""The gateway's commands as a person in the plant types them: read, write, scan."""

import asyncio
import json
from pathlib import Path

from gateway import program

SECONDS = 60  # after which a command hangs


async def run(*arguments):
    """Exit code, standard output, standard error of `fieldgate ARGUMENTS`."""
    process = await asyncio.create_subprocess_exec(
        program(), *(str(a) for a in arguments), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    try:
        out, error = await asyncio.wait_for(process.communicate(), SECONDS)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
        raise
    return process.returncode, out.decode(), error.decode()


class Tool:
    """The commands with one configuration file."""

    def __init__(self, folder, name, text):
        self.file = Path(folder) / f"{name}.toml"
        self.file.write_text(text)

    async def read(self):
        """`device/tag` to (value, quality, registers) of all tags."""
        _, out, error = await run("read", self.file, "--json")
        try:
            tags = json.loads(out)["tags"]
        except ValueError:
            raise RuntimeError(f"fieldgate read {self.file}: {out} {error}") from None
        return {t["tag"]: (t["value"], t["quality"], [int(word, 16) for word in t["registers"]]) for t in tags}

    async def write(self, tag, value):
        """Exit code, the value that was read back, and what was said."""
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        code, out, error = await run("write", self.file, tag, shown, "--json")
        after = json.loads(out).get("after") if out.strip() else None
        return code, after, (out + error).strip()


async def scan(*arguments):
    """The units found, by number."""
    _, out, error = await run("scan", *arguments, "--json")
    try:
        return {unit["unit"]: unit for unit in json.loads(out)["units"]}
    except ValueError:
        raise RuntimeError(f"fieldgate scan {arguments}: {out} {error}") from None
