"""Part `budgets`: what a gateway of 1,000 tags takes of a board, against limits. Only by name, with a release build; in the
environment of the service, `systemd/fieldgate.service`.

Memory, processor and writes are the gateway's own, from /proc; what the machine does beside it does not count.
"""

import asyncio
import re
import time
from pathlib import Path

from broker import Broker
from check import ok, section, until
from drain import Recorder, Wide
from field import TcpPeer, Unit
from gateway import ROOT, Gateway, program
from plant import free_port, head, tcp

TAGS = 1000
SECONDS = 20  # of each measurement
# The measured figures and a margin; docs/performance.md has the figures.
LIMITS = {
    "program, MiB": 36,
    "memory idle, MiB": 23, "memory idle with OPC UA, MiB": 50,
    "processor idle, % of a core": 0.4, "processor idle with OPC UA, % of a core": 1.2,
    "processor while all change, % of a core": 0.8,
    "written to the disk idle, KiB an hour": 0, "written to the disk while all change, KiB an hour": 0,
    "log idle, KiB an hour": 0, "log in the worst fault, KiB an hour": 1024,
    "cold start to the first good value at the broker, s": 1.0,
}


def service_environment():
    """What the unit sets for the program."""
    lines = re.findall(r"^Environment=(.*)$", (ROOT / "systemd/fieldgate.service").read_text(), re.MULTILINE)
    return dict(setting.split("=", 1) for line in lines for setting in line.split())


def judge(what, figure):
    """One line with its limit."""
    ok(f"budget: {what}: {figure:.2f} (limit {LIMITS[what]})", figure <= LIMITS[what])


class Usage:
    """What a process has used so far."""

    def __init__(self, gateway):
        proc = Path(f"/proc/{gateway.pid}")
        read = lambda name, key: int(re.search(rf"^{key}:\s+(\d+)", (proc / name).read_text(), re.MULTILINE)[1])
        self.at = time.monotonic()
        # Nanoseconds on a processor, of every thread.
        self.busy = sum(int(task.read_text().split()[0]) for task in proc.glob("task/*/schedstat")) / 1e9
        self.written = read("io", "write_bytes")
        self.memory = read("status", "VmRSS") / 1024
        self.own = read("status", "RssAnon") / 1024
        self.log = gateway.log.stat().st_size


async def over(gateway, state, seconds=SECONDS):
    """Processor in percent, bytes written and logged in an hour, memory at the end."""
    a = Usage(gateway)
    await asyncio.sleep(seconds)
    b = Usage(gateway)
    took = b.at - a.at
    hourly = lambda bytes_: bytes_ / 1024 * 3600 / took
    print(f"     {state}: {b.memory:.1f} MiB resident, {b.own:.1f} of them its own; {100 * (b.busy - a.busy) / took:.2f} % of a core")
    return 100 * (b.busy - a.busy) / took, hourly(b.written - a.written), hourly(b.log - a.log), b.memory


def config(folder, broker, net, more=""):
    """All tags of one device, read every second."""
    tags = "\n".join(f't{i} = {{ at = "input:{i}", type = "u16" }}' for i in range(TAGS))
    return f"""\
{head("budgets", default="1s")}
[store]
path = "{folder}/store"

[[publish.sparkplug]]
name = "cloud"
broker = "mqtt://127.0.0.1:{broker}"

{more}
{tcp("net", net)}
[[device]]
name = "values"
link = "net"
[device.tag]
{tags}
"""


async def run(folder):
    """Idle with and without OPC UA, busy, and in the worst fault."""
    section(f"budgets of {TAGS} tags, {SECONDS} s each")
    folder.mkdir(parents=True)
    judge("program, MiB", program().stat().st_size / 2 ** 20)
    opcua = f'[publish.opcua]\nlisten = "127.0.0.1:{free_port()}"\nsecurity = ["none"]\nanonymous = true\n'
    # Alone: the start is timed. The others count what is their own, so they may run side by side.
    await steady(folder / "idle", Unit(1, {"input": [7] * TAGS}), "idle")
    await asyncio.gather(
        steady(folder / "opcua", Unit(1, {"input": [7] * TAGS}), "idle with OPC UA", opcua),
        steady(folder / "busy", Wide(1, TAGS), "while all change"),
        worst(folder / "worst"))


async def steady(folder, unit, state, more=""):
    """From a cold start on."""
    broker, net = Broker(folder / "broker", free_port()), TcpPeer(free_port(), [unit])
    gateway = Gateway(folder, config(folder, broker.port, net.port, more), env=service_environment())
    recorder = None
    try:
        await broker.start()
        await net.start()
        recorder = Recorder(broker.port, "budgets-host")
        began = time.time()
        gateway.start()
        first = lambda: [at for at, topic, _ in recorder.came if topic.endswith("/values")]
        ok(f"{state}: born", await until(first, 30), gateway.tail())
        if state == "idle":
            judge("cold start to the first good value at the broker, s", first()[0] - began)
        # What happens once is over: the OPC UA server's key above all.
        await until(lambda: not more or "OPC UA server is up" in gateway.log.read_text(), 60)
        await asyncio.sleep(10)
        processor, written, log, memory = await over(gateway, state)
        judge(f"processor {state}, % of a core", processor)
        if state != "while all change":
            judge(f"memory {state}, MiB", memory)
        if not more:
            judge(f"written to the disk {state}, KiB an hour", written)
        if state == "idle":
            judge("log idle, KiB an hour", log)
    finally:
        gateway.cleanup()
        if recorder:
            recorder.close()
        await net.stop()
        await broker.stop()


async def worst(folder):
    """The broker takes connections and drops them; so do twenty links; on another all devices are silent or answer nonsense."""
    async def drop(_reader, writer):
        writer.close()

    async def nonsense(reader, writer):
        while await reader.read(300):
            writer.write(b"\x00" * 9)
        writer.close()

    dropping = await asyncio.start_server(drop, "127.0.0.1", 0)
    talking = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = lambda server: server.sockets[0].getsockname()[1]
    links = "\n".join(tcp(f"flapping-{i}", port(dropping)) + device(f"flapping-{i}", 5) for i in range(20))
    links += tcp("garbage", port(talking), "100ms") + device("garbage", 20)
    links += tcp("refused", free_port()) + device("refused", 20)
    gateway = Gateway(folder, config(folder, port(dropping), free_port(), links), env=service_environment())
    try:
        gateway.start()
        await asyncio.sleep(30)
        _, _, log, _ = await over(gateway, "in the worst fault", 60)
        ok("it runs", gateway.is_running(), gateway.tail())
        judge("log in the worst fault, KiB an hour", log)
    finally:
        gateway.cleanup()
        for server in (dropping, talking):
            server.close()


def device(link, count):
    """Some devices of a link."""
    return "\n".join(f'[[device]]\nname = "{link}-{i}"\nlink = "{link}"\nunit = {i + 1}\n[device.tag]\n'
                     'level = { at = "input:0", type = "u16" }\n' for i in range(count))
