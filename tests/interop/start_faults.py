"""Faults that are there at the start and heal later: the gateway is ready all the same, and comes good by itself."""

import asyncio
import os
import re
import socket
import subprocess
import time
from pathlib import Path

from broker import Broker
from check import equal, listens, ok, section, until
from field import Cable, RtuPeer, TcpPeer, Unit
from gateway import ROOT, Gateway
from host import Host
from plant import free_port, rtu, tcp

GROUP = "faults"
FAULT = 5  # seconds that each fault lasts
AWAY = "127.9.9.9"  # an address of this machine that no route leads to for a while


class Manager:
    """The service manager's end of a notify socket."""

    def __init__(self, folder):
        folder.mkdir(parents=True)
        self.path = str(folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)
        self.heard = ""

    def is_ready(self):
        """Whether the program said so."""
        try:
            while True:
                self.heard += self.socket.recv(4096).decode()
        except BlockingIOError:
            return "READY=1\n" in self.heard


class Start:
    """One gateway with a counter over TCP, and more where wished."""

    def __init__(self, folder, name, mqtt, net, more="", store=None, host="127.0.0.1", node="", env=None):
        self.name, self.http, self.net = name, free_port(), net
        self.manager = Manager(folder / name)
        text = f"""\
[node]
group = "{GROUP}"
name = "{name}"
{node}
[scan]
net = "200ms"

[store]
path = "{store or folder / name / "store"}"
durability = "always"

[[publish.sparkplug]]
name = "cloud"
broker = "mqtt://{host}:{mqtt}"

[publish.http]
listen = "127.0.0.1:{self.http}"

{tcp("net", net, "1s", host)}
[[device]]
name = "count"
link = "net"
unit = 2
scan = "net"
[device.tag]
count = {{ at = "input:0", type = "u32" }}
{more}"""
        self.gateway = Gateway(folder / name, text, self.http, {"NOTIFY_SOCKET": self.manager.path, **(env or {})})
        self.pid = None

    async def start(self):
        """Ready with the fault, whatever it is."""
        self.gateway.start()
        self.pid = self.gateway.pid
        ok(f"{self.name}: ready at the start", await until(self.manager.is_ready, 10), self.gateway.tail())

    async def number(self, metric):
        """The value of a metric without labels."""
        found = re.search(rf"^{metric} (\S+)$", (await self.gateway.get("/metrics"))[1], re.MULTILINE)
        return float(found[1]) if found else None

    async def good(self, host, path="count/count", seconds=20):
        """Values that are read from now on arrive, of the process that was started first."""
        began, now_ms = time.monotonic(), time.time() * 1000
        live = await until(lambda: (p := host.last(path)) and p.ms > now_ms and not p.null, seconds)
        ok(f"{self.name}: comes good by itself", live and self.gateway.is_running() and self.gateway.pid == self.pid,
           self.gateway.tail())
        print(f"     {self.name}: live {time.monotonic() - began:.1f} s after it healed", flush=True)


def allowed(*command):
    """Runs a command that needs rights; whether it worked."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


async def run(folder):
    """All faults at once, each with a gateway of its own."""
    section(f"faults at the start, healed after {FAULT} s")
    folder.mkdir(parents=True)
    broker = Broker(folder / "broker", free_port())
    net = TcpPeer(free_port(), [Unit(2, counter=True)])
    try:
        await broker.start()
        await net.start()
        faults = (no_network, no_port, no_broker, wrong_clock, full_disk)
        ended = await asyncio.gather(*(fault(folder, broker, net) for fault in faults), return_exceptions=True)
        for fault, end in zip(faults, ended):
            if isinstance(end, BaseException):
                ok(f"{fault.__name__} runs to its end", False, repr(end))
    finally:
        await net.stop()
        await broker.stop()


async def no_network(folder, broker, net):
    """Neither the field nor the broker can be routed to."""
    route = ("unreachable", f"{AWAY}/32", "table", "local")
    forwards = [subprocess.Popen(["socat", f"TCP-LISTEN:{port},bind={AWAY},reuseaddr,fork", f"TCP:127.0.0.1:{port}"])
                for port in (broker.port, net.port)]
    start, host = Start(folder, "no-network", broker.port, net.port, host=AWAY), None
    try:
        ok("no-network: the way is there", await until(lambda: all(listens(port, AWAY) for port in (broker.port, net.port)), 5))
        if not allowed("ip", "route", "add", *route):
            print("     no network: NOT checked, routes cannot be changed here")
            return
        host = Host(broker.port, GROUP, "no-network", "no-network-host")
        await start.start()
        await asyncio.sleep(FAULT)
        equal("no-network: nothing arrives", host.count(), 0)
        allowed("ip", "route", "del", *route)
        await start.good(host)
    finally:
        allowed("ip", "route", "del", *route)
        await finish(start, host)
        for forward in forwards:
            forward.kill()
            forward.wait()


async def no_port(folder, broker, net):
    """The serial port is not there, and the port of another device is closed."""
    cable, late = Cable(folder, "bus"), TcpPeer(free_port(), [Unit(2, counter=True)])
    bus = RtuPeer(cable, [Unit(3, counter=True)])
    more = f"""
{rtu("bus", cable.gateway_end, "1s")}
[[device]]
name = "serial"
link = "bus"
unit = 3
scan = "net"
[device.tag]
count = {{ at = "input:0", type = "u32" }}
"""
    start, host = Start(folder, "no-port", broker.port, late.port, more), None
    try:
        host = Host(broker.port, GROUP, "no-port", "no-port-host")
        await start.start()
        await asyncio.sleep(FAULT)
        ok("no-port: neither device is alive", not host.is_alive("count") and not host.is_alive("serial"))
        await late.start()
        await cable.plug()
        await bus.start()
        await start.good(host)
        await start.good(host, "serial/count")
    finally:
        await finish(start, host)
        await bus.stop()
        await late.stop()
        await cable.unplug()


async def no_broker(folder, _broker, net):
    """Nobody listens where the broker shall be; what was read meanwhile arrives as history."""
    late = Broker(folder / "late-broker", free_port())
    start, host = Start(folder, "no-broker", late.port, net.port), None
    try:
        began = time.time() * 1000
        await start.start()
        await asyncio.sleep(FAULT)
        healed = time.time() * 1000
        await late.start()
        host = Host(late.port, GROUP, "no-broker", "no-broker-host")
        await start.good(host)

        def history():
            old = [p for p in host.values("count/count") if p.history and p.ms < healed]
            return len(old) > FAULT * 3 and min(p.ms for p in old) < began + 2000

        ok("no-broker: what was read from the start on arrives", await until(history, 20), start.gateway.tail())
    finally:
        await finish(start, host)
        await late.stop()


async def wrong_clock(folder, broker, net):
    """1970 and not synchronised; then a time server is found. Clock and kernel are played by a library."""
    library, told = ROOT / "target/interop-peers/clock.so", folder / "clock"
    subprocess.run(["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o", library,
                    ROOT / "tests/interop/clock/shim.c"], check=True)
    told.write_text(f"{int(time.time())} 0")
    env = {"LD_PRELOAD": str(library), "CLOCK_FILE": str(told)}
    start, host = Start(folder, "wrong-clock", broker.port, net.port, env=env), None
    try:
        host = Host(broker.port, GROUP, "wrong-clock", "wrong-clock-host")
        await start.start()
        ok("wrong-clock: values arrive in 1970, and nobody takes their time for good",
           await until(lambda: (p := host.last("count/count")) and p.value and p.ms < 86_400_000 and p.quality != 192, 10),
           host.last("count/count"))
        await asyncio.sleep(FAULT)
        right = Path(f"{told}.right")
        right.write_text("0 1")
        os.replace(right, told)
        await start.good(host)
        now = host.last("count/count")
        ok("wrong-clock: the time is right and good", abs(now.ms - now.at * 1000) < 1000 and now.quality in (None, 192), now)
    finally:
        await finish(start, host)


async def full_disk(folder, broker, net):
    """Not a byte is left where the store shall be."""
    disk = folder / "disk"
    disk.mkdir()
    if not allowed("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)):
        print("     full disk: NOT checked, nothing can be mounted here")
        return
    start, host = Start(folder, "full-disk", broker.port, net.port, store=disk / "store"), None
    try:
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 65536)
            except OSError:
                pass
        host = Host(broker.port, GROUP, "full-disk", "full-disk-host")
        await start.start()
        ok("full-disk: values arrive all the same", await until(lambda: host.last("count/count"), 10), start.gateway.tail())
        await asyncio.sleep(FAULT)

        async def numbers():
            return [await start.number(f"fieldgate_store_{name}") for name in ("disk_full", "durable", "spool_bytes")]

        said = await numbers()
        ok("full-disk: it is told", said[0] == 1 or said[1] == 0, said)
        filler.unlink()

        async def healed():
            return (await numbers())[:2] == [0, 1]

        ok("full-disk: the store is durable again once there is room", await until(healed, 30), await numbers())
        await start.good(host)
        files = [path for path in (disk / "store").rglob("*") if path.is_file()]
        ok("full-disk: the store is on the disk", len(files) > 0, files)
    finally:
        await finish(start, host)
        allowed("umount", str(disk))


async def finish(start, host):
    """An orderly end, also after all that."""
    if start.gateway.is_running():
        code, took = await start.gateway.end()
        ok(f"{start.name}: SIGTERM: exit 0 within 5 s", code == 0 and took < 5, f"code {code}, {took:.1f} s")
    start.gateway.cleanup()
    if host:
        host.close()
