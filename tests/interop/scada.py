"""Part `scada`: a primary host at two brokers, Next Server, Reboot, and a flood of commands; a counter counts all along."""

import asyncio
import json
import os
import time

from broker import Broker
from check import equal, ok, section, until
from field import TcpPeer, Unit
from gateway import Gateway
from host import Host, bd_seq
from plant import free_port, head, tcp
from pysparkplug._protobuf import Payload as Protobuf

GROUP, NODE = "interop", "scada-node"
PATH = "plc/count"
# Of the whole process, with what a flood may leave in its queues.
GROWTH = 24 * 2**20


def config(folder, brokers, modbus, http):
    """One counter, at the two brokers in turn."""
    addresses = ", ".join(f'"mqtt://127.0.0.1:{broker.port}"' for broker in brokers)
    return f"""\
{head(NODE, fast="100ms")}
[store]
path = "{folder}/store"

[[publish.sparkplug]]
name = "cloud"
broker = [{addresses}]
primary-host = "scada"
allow = ["next-server", "reboot"]

[publish.http]
listen = "127.0.0.1:{http}"

{tcp("net", modbus)}
[[device]]
name = "plc"
link = "net"
unit = 1
scan = "fast"
[device.tag]
count = {{ at = "input:0", type = "u32" }}
"""


def state(host, online, at=None):
    """The host application says whether it is there (tck-id-host-topic-phid-birth-payload)."""
    payload = {"online": online, "timestamp": int((at or time.time()) * 1000)}
    host.client.publish("spBv1.0/STATE/scada", json.dumps(payload), qos=1, retain=True)


def births(host):
    """How many so far."""
    return len(host.of("NBIRTH"))


def is_there(host):
    """The node is born here and has not died since."""
    return host.is_alive(None) and host.is_alive("plc")


async def run(folder):
    """Some thirty seconds."""
    section("scada: a primary host at two brokers, Next Server, Reboot, floods")
    folder.mkdir(parents=True)
    brokers = [Broker(folder / name, free_port()) for name in ("a", "b")]
    unit = Unit(1, counter=True)
    net = TcpPeer(free_port(), [unit])
    http = free_port()
    gateway = Gateway(folder, config(folder, brokers, net.port, http), http)
    hosts = []
    try:
        for broker in brokers:
            await broker.start()
        await net.start()
        hosts = [Host(broker.port, GROUP, NODE, "scada-host") for broker in brokers]
        gateway.start()
        await primary(*hosts, gateway)
        await commands(*hosts, gateway)
        await flood(hosts[0], gateway)
        await balance(hosts, unit, gateway)
    finally:
        gateway.cleanup()
        for host in hosts:
            host.close()
        await net.stop()
        for broker in brokers:
            await broker.stop()


async def primary(a, b, gateway):
    """Nothing is said before the primary host is there; it is followed to the broker where it is."""
    await asyncio.sleep(3)
    equal("scada: without the primary host nothing is said", (a.count(), b.count()), (0, 0))
    state(b, True)
    ok("scada: born where the primary host is", await until(lambda: is_there(b), 30), gateway.tail())
    equal("scada: and nowhere else", births(a), 0)
    history = {p.value for p in b.values(PATH) if p.history}
    ok("scada: what was read before comes as history", await until(
        lambda: len({p.value for p in b.values(PATH) if p.history}) >= 20, 15), len(history))
    state(b, True, time.time() - 60)
    state(b, False, time.time() - 60)
    await asyncio.sleep(1)
    ok("scada: an offline that is older than the online is ignored", is_there(b))
    state(b, False)
    ok("scada: its offline ends the session with an NDEATH", await until(lambda: not b.is_alive(None), 10), gateway.tail())
    said = b.count()
    await asyncio.sleep(2)
    equal("scada: and nothing comes after it", b.count(), said)
    state(a, True)
    ok("scada: born at the other broker, where it is online now", await until(lambda: is_there(a), 30), gateway.tail())


async def commands(a, b, gateway):
    """Next Server and Reboot by NCMD."""
    state(b, True)
    a.command(None, "Node Control/Next Server", "BOOLEAN", True)
    ok("scada: Next Server: a proper end here", await until(lambda: not a.is_alive(None), 10), gateway.tail())
    before = births(b)
    ok("scada: Next Server: born there", await until(lambda: births(b) > before or is_there(b), 30) and
       await until(lambda: is_there(b), 10), gateway.tail())
    pid, before = gateway.pid, births(a) + births(b)
    b.command(None, "Node Control/Reboot", "BOOLEAN", True)
    ok("scada: Reboot: not in the first ten seconds",
       await until(lambda: "restart refused" in gateway.tail(), 10) and is_there(b), gateway.tail())
    await asyncio.sleep(10)
    number = bd_seq(b.of("NBIRTH")[-1])
    b.command(None, "Node Control/Reboot", "BOOLEAN", True)
    ok("scada: Reboot: an NDEATH", await until(lambda: not b.is_alive(None), 15), gateway.tail())
    # It begins with the first broker, and the primary host is there, too.
    ok("scada: Reboot: born again", await until(lambda: births(a) + births(b) > before and is_there(a), 30), gateway.tail())
    ok("scada: Reboot: the same process", gateway.is_running() and gateway.pid == pid)
    equal("scada: Reboot: it started anew", gateway.log.read_text(errors="replace").count("gateway runs"), 2)
    equal("scada: Reboot: the next bdSeq", bd_seq(a.of("NBIRTH")[-1]), (number + 1) % 256)


def resident(pid):
    """In bytes."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def flood(host, gateway):
    """Garbage, a megabyte, ten thousand aliases: refused and counted, and the memory stays as it is."""
    def aliases(count):
        payload = Protobuf(timestamp=int(time.time() * 1000))
        for alias in range(count):
            metric = payload.metrics.add()
            metric.alias, metric.datatype, metric.int_value = alias, 7, alias
        return payload.SerializeToString()

    bomb = Protobuf(timestamp=int(time.time() * 1000))
    for _ in range(400_000):
        bomb.metrics.add()
    payloads = [os.urandom(1000), os.urandom(2**20), b"\xff" * 2**20, aliases(10_000), bomb.SerializeToString(),
                os.urandom(3 * 2**20)]

    async def once():
        for payload in payloads:
            for device in (None, "plc"):
                host.raw_command(device, payload)
            host.client.publish("spBv1.0/STATE/scada", payload[:2**20], qos=1)
        # A value that comes after them tells that they were read.
        last = host.last(PATH).value
        await until(lambda: host.last(PATH).value > last + 5, 20)

    async def refused():
        return await gateway.counter("fieldgate_publisher_refused_total", "cloud")

    for _ in range(8):
        await once()
    before, born, counted = resident(gateway.pid), births(host), await refused()
    for _ in range(30):
        await once()
    grown = resident(gateway.pid) - before
    print(f"     a flood of {30 * sum(map(len, payloads)) * 3 >> 20} MiB: {before >> 20} MiB resident, {grown / 2**20:+.1f} MiB")
    ok("scada: floods leave the memory as it was", grown < GROWTH, f"{grown >> 20} MiB more")
    ok("scada: floods are counted as refused", await refused() >= counted + 30 * 2 * len(payloads), (counted, await refused()))
    ok("scada: floods end no session", births(host) == born and is_there(host), gateway.tail())
    ok("scada: the gateway lives", gateway.is_running())


async def balance(hosts, unit, gateway):
    """Over all brokers and starts: every value that the field served has come."""
    last = time.time()
    # A value that was read in the moment of a start or stop may never have been a sample.
    served = {value for value, at in unit.served if at < last}

    def missing():
        return served - {p.value for host in hosts for p in host.values(PATH) if not p.null}

    await until(lambda: len(missing()) <= 2, 30)
    ok(f"scada: of {len(served)} values that the field served none is missing but in the moment of the reboot",
       len(missing()) <= 2, sorted(missing())[:10])
    numbers = sorted((m.at, bd_seq(m)) for host in hosts for m in host.of("NBIRTH"))
    steps = [(b - a) % 256 for (_, a), (_, b) in zip(numbers, numbers[1:])]
    ok("scada: bdSeq only goes on", all(1 <= step < 100 for step in steps), numbers)
    code, took = await gateway.end()
    ok("scada: exit 0 within 5 s", code == 0 and took < 5, f"code {code}, {took:.1f} s")
