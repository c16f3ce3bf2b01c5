"""Part `board`: a build for another processor does all that a gateway does. Only by name, with FIELDGATE_BIN = the emulator
around that build (cross/smoke.sh): what is checked of the disk is read from the emulator's log of system calls."""

import asyncio
import json
import os
import re
import signal
import time

import arrivals
import fixture
import rules
import tool
from arrays_part import connected
from broker import Broker
from check import equal, ok, section, until
from field import Cable, RtuPeer, TcpPeer, Unit
from gateway import ROOT, Gateway, program
from host import Host
from plant import device, free_port, head, rtu, tcp

GROUP, NODE = "interop", "board"
EXACT = -6.25e-7
TAGS = """\
count = { at = "input:0", type = "u32" }
exact = { at = "holding:0", type = "f64", order = "cdab" }
setpoint = { at = "holding:4", type = "f32", access = "read-write" }"""


def config(folder, mqtt, opcua, http, net, cable):
    """One device over TCP, the same over RS-485 where there is a cable, both norths, and all that is read goes to the disk."""
    serial = rtu("bus", cable.gateway_end) + device("rtu", "bus", 2, TAGS) if cable else ""
    return f"""\
{head(NODE, fast="200ms")}
[store]
path = "{folder}/store"
durability = "always"

[[publish.sparkplug]]
name = "cloud"
broker = "mqtt://127.0.0.1:{mqtt}"
client-id = "board"

[publish.opcua]
listen = "127.0.0.1:{opcua}"
security = ["none"]
anonymous = true

[publish.http]
listen = "127.0.0.1:{http}"

{tcp("net", net)}{device("plc", "net", 2, TAGS)}{serial}"""


async def run(folder):
    """The commands, then one gateway from its birth over a kill to its end."""
    section(f"a build for another processor: {program()}")
    folder.mkdir(parents=True)
    await commands()
    cable = Cable(folder, "bus") if os.environ.get("FIELDGATE_SERIAL") else None
    broker, opcua, http = Broker(folder / "broker", free_port()), free_port(), free_port()
    areas = {"holding": fixture.words_of("f64", EXACT, "cdab") + [0, 0]}
    net = TcpPeer(free_port(), [Unit(2, areas, counter=True)])
    peers = [net] + ([RtuPeer(cable, [Unit(2, areas, counter=True)])] if cable else [])
    units = {f"{name}/count": peer.units[2] for name, peer in zip(("plc", "rtu"), peers)}
    gateway = Gateway(folder, config(folder, broker.port, opcua, http, net.port, cable), http,
                      {"FIELDGATE_SOCKET": str(folder / "control.sock")})
    host = reader = None
    try:
        await broker.start()
        if cable:
            await cable.plug()
        for peer in peers:
            await peer.start()
        host = Host(broker.port, GROUP, NODE, "board-host")
        gateway.start()
        ok("Sparkplug: the devices are born", await until(lambda: all(host.is_alive(path[:3]) for path in units), 60), gateway.tail())
        equal("Sparkplug: a double in the order cdab", host.last("plc/exact").value, EXACT)
        reader = await connected(f"opc.tcp://127.0.0.1:{opcua}/")
        await opc_ua(reader, host, net)
        await reader.client.disconnect()
        reader = None
        await status(folder, units)
        await disk(gateway, broker, host, units)
    finally:
        if reader:
            await reader.client.disconnect()
        gateway.cleanup()
        if host:
            host.close()
        for peer in peers:
            await peer.stop()
        if cable:
            await cable.unplug()
        await broker.stop()


async def commands():
    """What needs no plant."""
    for site in ("water", "factory"):
        code, out, error = await tool.run("check", ROOT / f"config/examples/{site}.toml")
        equal(f"check config/examples/{site}.toml", code, 0) or print(out, error)
    code, out, error = await tool.run("demo", "--site", "factory", "--for", "5s")
    ok("demo --site factory --for 5s: exit 0, and it showed values", code == 0 and len(out.splitlines()) > 5, f"{code} {out[-300:]} {error[-300:]}")


async def opc_ua(reader, host, net):
    """A read, a write, and what pymodbus has then."""
    data = await reader.read("plc/exact")
    equal("OPC UA: asyncua reads it", (data.Value.VariantType.name, data.Value.Value, data.StatusCode.is_good()), ("Double", EXACT, True))
    first = (await reader.read("plc/count")).Value.Value
    ok("OPC UA: the counter counts", await until(lambda: host.last("plc/count").value > first + 5, 10))
    host.command("plc", "setpoint", "FLOAT", 7.25)
    ok("Sparkplug: a DCMD comes home", await until(lambda: host.last("plc/setpoint").value == 7.25, 10), host.last("plc/setpoint"))
    equal("Modbus: pymodbus has it", net.units[2].words("holding", 4, 2), fixture.words_of("f32", 7.25, "abcd"))
    equal("OPC UA: so has asyncua", (await reader.read("plc/setpoint")).Value.Value, 7.25)


async def status(folder, units):
    """`fieldgate status` of the same build, by the local socket."""
    code, out, error = await tool.run("status", "--socket", folder / "control.sock", "--json")
    said = json.loads(out) if code == 0 else {}
    equal("status: the devices are alive", [d["state"] for d in said.get("devices", []) if not d["is_node"]],
          ["alive"] * len(units)) or print(out, error)
    ok("status: what is kept is durable", said.get("store", {}).get("durable") is True, said.get("store"))


async def disk(gateway, broker, host, units):
    """Without a broker it is kept; killed, the store opens again; what the kernel was asked for is in the emulator's log."""
    code, took = await gateway.end()
    ok("SIGTERM: exit 0", code == 0, f"code {code}, {took:.1f} s")
    await broker.stop()
    gateway.log.unlink()
    gateway.env["QEMU_STRACE"] = "1"
    away = time.time()
    for unit in units.values():
        unit.served.clear()
    gateway.start()
    ok("it polls without a broker", await until(lambda: all(len(u.served) > 25 for u in units.values()), 60), gateway.tail())
    killed = time.time()
    await gateway.end(signal.SIGKILL)
    syncs(gateway.log.read_text(errors="replace"))
    del gateway.env["QEMU_STRACE"]
    gateway.start()
    more = {path: len(unit.served) for path, unit in units.items()}
    ok("killed, it polls again", await until(lambda: all(len(u.served) > more[p] + 10 for p, u in units.items()), 60), gateway.tail())
    back = time.time()
    await broker.start()
    last = time.time()

    def whole():
        have = {path: {p.value for p in host.values(path)} for path in units}
        return all(value in have[path] for path, unit in units.items()
                   for value, at in unit.served if at < last and not 0 <= killed - at < arrivals.DURABLE_AFTER)

    await until(whole, 60)
    for path, unit in units.items():
        # The moment is the middle between request and answer, which is as long as the emulator takes.
        points = arrivals.check(path, host, path, unit, [killed], last, away, early_ms=50)
        # A start under the emulator takes its time: history are those that were read before the broker was there.
        arrivals.check_history(path, points, (away, back - 0.5))
    code, took = await gateway.end()
    ok("SIGTERM again: exit 0", code == 0, f"code {code}, {took:.1f} s")
    rules.check_log(host.of("NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH", "NDEATH"), "over all of it")


def syncs(log):
    """The store's flush is `fdatasync`, which the kernel answered with success, and never what writes no metadata."""
    # Threads write into each other's lines: a few of the answers are another call's.
    tried = re.findall(r"\bfdatasync\(\d+\)", log)
    failed = re.findall(r"\bfdatasync\(\d+\) = -1", log)
    done = re.findall(r"\bfdatasync\(\d+\) = 0$", log, re.MULTILINE)
    weak = re.findall(r"\bsync_file_range2?\(", log)
    ok(f"disk: of {len(tried)} fdatasync {len(done)} are seen to succeed, and none to fail", len(done) > 5 and not failed, failed)
    equal("disk: sync_file_range is never called", len(weak), 0)
