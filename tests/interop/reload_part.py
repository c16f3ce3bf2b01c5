"""A configuration that changes under load: one device of 200, ten times, and files with mistakes."""

import asyncio
import json
import os
import re
import signal
import time

import tool
import ua
from broker import Broker
from check import equal, listens, ok, section, until
from field import TcpPeer, Unit
from gateway import Gateway
from host import Host
from plant import device, free_port, head, tcp

GROUP, NODE = "interop", "gateway-reload"
LINKS, UNITS = 10, 20
PERIOD = 1.0
RELOADS = 10
BROKEN = int(os.environ.get("RELOAD_BROKEN", "200"))


def config(ports, peers, tags):
    """The file; `tags` are those of the one device that changes."""
    parts = [f"""\
{head(NODE, fast=f'{int(PERIOD * 1000)}ms')}
[system]
interval = "200ms"

[[publish.sparkplug]]
name = "cloud"
broker = "mqtt://127.0.0.1:{ports['mqtt']}"

[publish.opcua]
listen = "127.0.0.1:{ports['opcua']}"
security = ["none"]
anonymous = true

[publish.http]
listen = "127.0.0.1:{ports['http']}"
"""]
    for at, peer in enumerate(peers):
        parts.append(tcp(f"net-{at}", peer.port, "900ms"))
    for at in range(LINKS * UNITS):
        own = f'count = {{ at = "input:0", type = "u32" }}\n{tags if at == 0 else ""}'
        parts.append(device(f"d{at}", f"net-{at // UNITS}", at % UNITS + 1, own, "identify = false"))
    return "".join(parts)


def broken(text):
    """Files with one mistake each, and the line that it is in."""
    lines = text.splitlines()
    changes = [("unit = ", "unit = 9999"), ("link = ", 'link = "nowhere"'), ("scan = ", 'scan = "never"'),
               ("count = ", 'count = { at = "inpt:0", type = "u32" }'), ("count = ", 'count = { at = "input:0", type = "u33" }'),
               ("identify = ", "identify = 7"), ("name = ", "name = 'a/b'"), ("unit = ", "units = 1")]
    first = next(at for at, line in enumerate(lines) if line == "[[device]]")
    for n in range(BROKEN):
        start, instead = changes[n % len(changes)]
        places = [at for at, line in enumerate(lines) if line.startswith(start) and at > first]
        at = places[(n * 7) % len(places)]
        yield "\n".join(lines[:at] + [instead] + lines[at + 1:]) + "\n", at + 1


async def run(folder):
    """All on one gateway."""
    section(f"11 reload: one device of {LINKS * UNITS} under load, {BROKEN} files with a mistake")
    folder.mkdir(parents=True)
    ports = {name: free_port() for name in ("mqtt", "opcua", "http")}
    broker = Broker(folder / "broker", ports["mqtt"])
    peers = [TcpPeer(free_port(), [Unit(n + 1, {"holding": list(range(100))}, counter=True) for n in range(UNITS)])
             for _ in range(LINKS)]
    socket = folder / "control.sock"
    gateway = Gateway(folder, config(ports, peers, ""), ports["http"], {"FIELDGATE_SOCKET": str(socket)})
    host = reader = None
    try:
        await broker.start()
        for peer in peers:
            await peer.start()
        host = Host(ports["mqtt"], GROUP, NODE)
        gateway.start()
        names = [f"d{at}" for at in range(LINKS * UNITS)]
        ok("all devices are born", await until(lambda: all(host.is_alive(n) for n in names), 40), gateway.tail())
        await until(lambda: listens(ports["opcua"]), 60)
        reader = await (await ua.plain(f"opc.tcp://127.0.0.1:{ports['opcua']}/")).find(["d0", "d1", "d179"])
        watcher = await reader.watch(["d1/count", "d179/count"])
        for peer in peers:
            for unit in peer.units.values():
                unit.served.clear()
        births, began = len(host.of("NBIRTH")), time.time()
        born = {name: len(host.of("DBIRTH", device=name)) for name in names}
        await changes(gateway, ports, peers, host, reader)
        await refusals(gateway, config(ports, peers, ""))
        await trials(gateway, socket, config(ports, peers, ""), peers)
        await asyncio.sleep(2 * PERIOD)
        ended = time.time()
        await asyncio.sleep(1)

        equal("the Sparkplug session is the same", len(host.of("NBIRTH")), births)
        equal("nobody else is born again, but whose link was on trial",
              [n for n in names[1:-UNITS] if len(host.of("DBIRTH", device=n)) != born[n]], [])
        equal("the device that changed is born once a change", len(host.of("DBIRTH", device="d0")), born["d0"] + RELOADS + 4)
        # The last one was on trial at a port where nobody listens.
        equal("no connection to the field was opened anew", [p.connects for p in peers], [1] * (LINKS - 1) + [2])
        late, lost = [], []
        for at, name in enumerate(names):
            unit = peers[at // UNITS].units[at % UNITS + 1]
            times = [t for _, t in unit.served if began <= t <= ended]
            gaps = [b - a for a, b in zip(times, times[1:])]
            if name != "d0" and at // UNITS != LINKS - 1 and (len(times) < int((ended - began) / PERIOD) or max(gaps) > 1.5 * PERIOD):
                late.append((name, len(times), round(max(gaps), 2)))
            seen = {p.value for p in host.values(f"{name}/count")}
            lost.extend((name, value) for value, t in unit.served if began <= t <= ended - 1 and value not in seen)
        equal(f"no poll of the {len(names) - 1 - UNITS} others is missed in {ended - began:.0f} s", late[:5], [])
        equal("no value is lost", lost[:5], [])
        for path in ("d1/count", "d179/count"):
            values = [d.Value.Value for d in watcher.told[path]]
            ok(f"OPC UA: the session's subscription to {path} tells each value in turn",
               len(values) > 5 and values == list(range(values[0], values[0] + len(values))), values)
    finally:
        if reader:
            await reader.client.disconnect()
        if host:
            host.close()
        gateway.cleanup()
        for peer in peers:
            await peer.stop()
        await broker.stop()


async def changes(gateway, ports, peers, host, reader):
    """Ten reloads: a tag more each time, of another type now and then, and none in the end."""
    for n in range(1, RELOADS + 1):
        kind = "u16" if n % 2 else "i16"
        tags = "" if n == RELOADS else "\n".join(f'r{i} = {{ at = "holding:{i}", type = "{kind}" }}' for i in range(n))
        gateway.file.write_text(config(ports, peers, tags))
        gateway.process.send_signal(signal.SIGHUP)
        if n == RELOADS:
            ok(f"reload {n}: the tags are gone", await until(
                lambda: "r0" not in str(host.of("DBIRTH", device="d0")[-1].raw), 10))
            status, _ = await gateway.get("/api/v1/tags/d0/r0")
            equal(f"reload {n}: the page knows them no more", status, 404)
            continue
        last = f"d0/r{n - 1}"
        good = await until(lambda: (p := host.last(last)) and not p.null and p.value == n - 1, 10)
        ok(f"reload {n}: the new tag has its value in Sparkplug", good, host.last(last))
        node = reader.client.get_node(f"{reader.nodes['d0/count'].nodeid.to_string().rsplit('/', 1)[0]}/r{n - 1}")
        good = await until(lambda: value(node, n - 1), 10)
        ok(f"reload {n}: and in OPC UA, in the same session", good)


async def value(node, wanted):
    """Whether the node has this value; not where there is no such node."""
    try:
        return await node.read_value() == wanted
    except Exception:  # BadNodeIdUnknown until it is there
        return False


async def refusals(gateway, text):
    """Each file is refused with the place of its mistake; then the good one again, which changes nothing."""
    told = []
    for wrong, line in broken(text):
        before = gateway.log.stat().st_size
        gateway.file.write_text(wrong)
        gateway.process.send_signal(signal.SIGHUP)

        def refused():
            with gateway.log.open("rb") as log:
                log.seek(before)
                said = log.read().decode()
            return said if "what ran goes on" in said else None

        said = await until(refused, 10) or ""
        if not re.search(rf"gateway\.toml:{line}:\d+: ", said):
            told.append((line, said[-400:]))
    equal(f"{BROKEN} files are refused, each with the line of its mistake", told[:2], [])
    gateway.file.write_text(text)
    gateway.process.send_signal(signal.SIGHUP)
    ok("the good file again is taken", await until(lambda: "the configuration is the same" in gateway.log.read_text(), 10))

    async def counted():
        _, tag = await gateway.get("/api/v1/tags/system/gateway/config/refused")
        return f'"value":{BROKEN}' in tag.replace(" ", "")

    ok("a health tag counts what was refused", await until(counted, 5))


async def trials(gateway, socket, text, peers):
    """By the control socket: status, the difference, a file that is tried, confirmed, forgotten, and one that cuts a link off."""
    async def ask(*arguments):
        return await tool.run(*arguments, "--socket", socket)

    def status(said):
        return json.loads(said[1])

    equal("the control socket is for its owner and group only", oct(socket.stat().st_mode & 0o777), "0o660")
    said = status(await ask("status", "--json"))
    equal("status: all is good",
          (said["health"], [d["state"] for d in said["devices"]], said["config"]["refused"]),
          ({"status": "good", "problems": []}, ["alive"] * (LINKS * UNITS + 1), BROKEN))
    words = (await ask("status"))[1]
    ok("status in words", "all good" in words and "link net-0: up" in words, words[:300])
    copy = gateway.folder / "copy.toml"
    one = text.replace('count = { at = "input:0", type = "u32" }\n',
                       'count = { at = "input:0", type = "u32" }\nextra = { at = "holding:7", type = "u16" }\n', 1)
    copy.write_text(one)
    said = await ask("check", copy, "--against", "running")
    equal("check --against running tells the difference and changes nothing",
          (said[0], said[1].split("\n")[:2], status(await ask("status", "--json"))["config"]["trial"]),
          (0, ["~ link net-0", "+ tag d0/extra"], None))
    said = await ask("apply", copy, "--confirm", "3s")
    ok("apply says what changes", said[0] == 0 and "+ tag d0/extra" in said[1], said)
    ok("what is on trial runs", (await gateway.get("/api/v1/tags/d0/extra"))[0] == 200)
    said = await ask("reload")
    ok("no reload while something is on trial", said[0] == 2 and "on trial" in said[2], said)

    async def gone():
        return (await gateway.get("/api/v1/tags/d0/extra"))[0] == 404

    ok("nobody confirms it: it goes back by itself", await until(gone, 10), gateway.tail())
    ok("and the status says why", any("nobody confirmed" in m for m in status(await ask("status", "--json"))["config"]["mistakes"]))
    await ask("apply", copy, "--confirm", "60s")
    said = await ask("confirm")
    ok("confirm puts it into the gateway's own file", said[0] == 0 and gateway.file.read_text() == one, said)
    ok("and it runs on", not await gone())
    gateway.file.write_text(text)
    said = await ask("reload")
    ok("reload says what changed", said[0] == 0 and "- tag d0/extra" in said[1], said)
    gateway.file.write_text(text.replace("unit = 1", "unit = 9999", 1))
    said = await ask("reload")
    ok("reload of a file with a mistake: its place, and exit code 2", said[0] == 2 and "gateway.toml:" in said[2], said)
    gateway.file.write_text(text)
    copy.write_text(text.replace(f"port = {peers[-1].port}", f"port = {free_port()}"))
    said = await ask("apply", copy, "--confirm", "6s")
    ok("apply of a file that leads a link astray", said[0] == 0 and f"~ link net-{LINKS - 1}" in said[1], said)

    async def back():
        said = status(await ask("status", "--json"))["config"]
        return said["trial"] is None and any("did not come back" in m for m in said["mistakes"])

    ok("the link does not come back: the gateway goes back by itself, before the time is over", await until(back, 5.5), gateway.tail())

    async def good():
        return status(await ask("status", "--json"))["health"]["status"] == "good"

    ok("and all is good again", await until(good, 15), gateway.tail())
