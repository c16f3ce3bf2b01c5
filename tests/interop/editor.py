"""Part `editor`: the servers behind TOML in editors mark, explain and complete a configuration by the schema: Tombi, and Taplo's checks."""

import asyncio
import json
import sys
from pathlib import Path

import tool
from check import equal, ok, section
from gateway import ROOT

PROGRAMS = Path(sys.executable).parent
DIRECTIVE = "#:schema ./fieldgate.schema.json\n"


class Editor:
    """What an editor does: it opens a file and asks the server about places in it (Language Server Protocol 3.17)."""

    def __init__(self, folder):
        self.folder = folder
        self.number = 0
        self.marks = {}

    async def start(self):
        """Starts the server in the folder, and tells it who asks."""
        self.process = await asyncio.create_subprocess_exec(
            PROGRAMS / "tombi", "lsp", cwd=self.folder, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL)
        root = self.folder.as_uri()
        await self.ask("initialize", {"processId": None, "rootUri": root, "capabilities": {},
                                      "workspaceFolders": [{"uri": root, "name": "plant"}]})
        self.send({"method": "initialized", "params": {}})

    async def stop(self):
        """Ends the server."""
        self.process.kill()
        await self.process.wait()

    def send(self, message):
        """One message, framed."""
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    async def heard(self):
        """The next message; marks are kept, and what the server asks is answered."""
        head = await asyncio.wait_for(self.process.stdout.readuntil(b"\r\n\r\n"), 60)
        length = next(int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-length"))
        message = json.loads(await asyncio.wait_for(self.process.stdout.readexactly(length), 60))
        if message.get("method") == "textDocument/publishDiagnostics":
            self.marks[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:
            items = (message.get("params") or {}).get("items", [])
            self.send({"id": message["id"], "result": [None] * len(items) if items else None})
        return message

    async def ask(self, method, params):
        """A request's result."""
        self.number += 1
        number = self.number
        self.send({"id": number, "method": method, "params": params})
        while True:
            message = await self.heard()
            if message.get("id") == number and "method" not in message:
                return message.get("result")

    async def open(self, name, text):
        """A file as the editor has it; its address."""
        path = self.folder / name
        path.write_text(text)
        self.send({"method": "textDocument/didOpen", "params": {"textDocument": {
            "uri": path.as_uri(), "languageId": "toml", "version": 1, "text": text}}})
        while path.as_uri() not in self.marks:
            await self.heard()
        return path.as_uri()

    async def at(self, method, uri, text, what, behind=""):
        """Asks about the first place of `what` in the text, behind so many of its characters."""
        before = text[:text.index(what) + len(behind)]
        return await self.ask(f"textDocument/{method}", {"textDocument": {"uri": uri}, "position": {
            "line": before.count("\n"), "character": len(before) - before.rfind("\n") - 1}})

    async def keys(self, uri, text, what, behind):
        """What it would write there."""
        said = await self.at("completion", uri, text, what, behind) or []
        items = said["items"] if isinstance(said, dict) else said
        return {item["label"]: json.dumps(item) for item in items}


async def lint(folder, name, text):
    """Exit code of Taplo's check of a file, and what it says."""
    (folder / name).write_text(text)
    process = await asyncio.create_subprocess_exec(
        PROGRAMS / "taplo", "lint", name, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, said.decode()


async def run(folder):
    """No gateway runs."""
    section("an editor with the schema")
    folder.mkdir(parents=True)
    _, schema, why = await tool.run("schema")
    ok("fieldgate schema prints", schema, why)
    (folder / "fieldgate.schema.json").write_text(schema)
    editor = Editor(folder)
    await editor.start()
    try:
        for path in sorted((ROOT / "config/examples").glob("*.toml")):
            uri = await editor.open(path.name, DIRECTIVE + path.read_text())
            equal(f"nothing is marked in {path.name}", [mark["message"] for mark in editor.marks[uri]], [])
            code, said = await lint(folder, path.name, DIRECTIVE + path.read_text())
            ok(f"Taplo finds nothing in {path.name}", code == 0, said[-500:])

        plant = (ROOT / "config/examples/water.toml").read_text()
        text = DIRECTIVE + plant.replace("[node]\n", "[node]\nnmae = \"x\"\n", 1)
        marks = editor.marks[await editor.open("misspelt.toml", text)]
        wrong = text[:text.index("nmae")].count("\n")
        ok("an unknown key is marked in its line",
           any("nmae" in mark["message"] and mark["range"]["start"]["line"] == wrong for mark in marks), marks)

        code, said = await lint(folder, "misspelt.toml", text)
        ok("Taplo names it, too", code == 1 and f"misspelt.toml:{wrong + 1}:" in said and "'nmae'" in said, said[-500:])

        text = DIRECTIVE + plant.replace("fast = \"500ms\"", "fast = 500", 1)
        marks = editor.marks[await editor.open("unit.toml", text)]
        wrong = text[:text.index("fast = 500")].count("\n")
        ok("a period without unit is marked in its line",
           any(mark["range"]["start"]["line"] == wrong for mark in marks), marks)

        text = DIRECTIVE + """[node]
group = "water"
name = "station"

[[link.modbus-rtu]]
name = "bus"
port = "/dev/ttyUSB0"
parity = 

[[device]]
name = "plc"
link = "bus"
m
"""
        uri = await editor.open("station.toml", text)
        said = json.dumps(await editor.at("hover", uri, text, "parity", "par"))
        ok("a key is explained where the pointer is", "parity" in said.lower() and len(said) > 40, said)
        keys = await editor.keys(uri, text, "m\n", "m")
        ok("keys of a device are offered", {"max-registers", "max-gap"} <= keys.keys(), sorted(keys))
        words = await editor.keys(uri, text, "parity = \n", "parity = ")
        ok("the words of a key are offered", {"even", "odd"} <= {word.strip("\"") for word in words}, sorted(words))
    finally:
        await editor.stop()
