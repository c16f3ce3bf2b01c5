"""Check 5: the broker is stopped for 20 s and killed, the gateway is killed; durability = "always"."""

import asyncio
import signal
import time

import arrivals
import rules
from broker import Broker
from check import equal, ok, section, until
from field import Cable, RtuPeer, TcpPeer, Unit
from gateway import Gateway
from host import Host, bd_seq
from plant import free_port, head, rtu, tcp

GROUP, NODE = "interop", "gateway-2"
COUNTERS = ("net-count/count", "bus-count/count")


def config(folder, mqtt, net, cable):
    """Two counters, all that is read goes to disk before it is published."""
    return f"""\
{head(NODE, net="100ms", bus="200ms")}
[store]
path = "{folder}/store"
durability = "always"

[[publish.sparkplug]]
name = "cloud"
broker = "mqtt://127.0.0.1:{mqtt}"
client-id = "durable-gateway"

{tcp("net", net.port)}
{rtu("bus", cable.gateway_end)}
[[device]]
name = "net-count"
link = "net"
unit = 2
scan = "net"
[device.tag]
count = {{ at = "input:0", type = "u32" }}

[[device]]
name = "bus-count"
link = "bus"
unit = 2
scan = "bus"
[device.tag]
count = {{ at = "input:0", type = "u32" }}
"""


async def run(folder):
    """Some fifty seconds of counters."""
    section('5 the broker stops for 20 s and is killed, the gateway is killed, durability = "always"')
    folder.mkdir(parents=True)
    broker = Broker(folder / "broker", free_port())
    cable = Cable(folder, "bus")
    net = TcpPeer(free_port(), [Unit(2, counter=True)])
    bus = RtuPeer(cable, [Unit(2, counter=True)])
    gateway = Gateway(folder, config(folder, broker.port, net, cable))
    host = None
    try:
        await broker.start()
        await cable.plug()
        await net.start()
        await bus.start()
        host = Host(broker.port, GROUP, NODE, "outage-host")
        await story(broker, gateway, host, {"net-count/count": net.units[2], "bus-count/count": bus.units[2]})
    finally:
        gateway.cleanup()
        if host:
            host.close()
        for peer in (net, bus):
            await peer.stop()
        await cable.unplug()
        await broker.stop()


async def live(host, seconds=15):
    """Waits until values that are read from now on arrive unflagged."""
    now_ms = time.time() * 1000
    return await until(lambda: all((p := host.last(c)) and p.ms > now_ms for c in COUNTERS), seconds)


async def story(broker, gateway, host, units):
    """What happens, and what must have arrived at the end."""
    kills, gaps = [], []

    async def kill_gateway():
        kills.append(time.time())
        await gateway.end(signal.SIGKILL)
        await asyncio.sleep(0.5)
        gateway.start()

    gateway.start()
    ok("live values arrive", await live(host), gateway.tail())
    await asyncio.sleep(3)

    # Killed while the broker is there: its will is published, the next bdSeq is one higher.
    before = bd_seq(host.of("NBIRTH")[-1])
    await kill_gateway()
    ok("live values arrive after a SIGKILL", await live(host), gateway.tail())
    deaths = host.of("NDEATH")
    ok("SIGKILL: the broker publishes the will", bool(deaths))
    equal("SIGKILL: the will has the bdSeq of its birth", bd_seq(deaths[-1]) if deaths else None, before)
    equal("SIGKILL: the next birth has the next bdSeq", bd_seq(host.of("NBIRTH")[-1]), (before + 1) % 256)
    await asyncio.sleep(2)

    # Away for 20 s, the gateway killed and started again meanwhile.
    stopped = time.time()
    await broker.stop()
    await asyncio.sleep(9)
    await kill_gateway()
    await asyncio.sleep(max(0.0, stopped + 20 - time.time()))
    gaps.append((stopped + 0.5, time.time()))
    await broker.start()
    ok("live values arrive after 20 s without a broker", await live(host, 40), gateway.tail())
    await asyncio.sleep(3)

    # Killed, not stopped; the gateway too.
    killed = time.time()
    await broker.stop(kill=True)
    await asyncio.sleep(2)
    await kill_gateway()
    await asyncio.sleep(2)
    gaps.append((killed + 0.5, time.time()))
    await broker.start()
    ok("live values arrive after the broker was killed", await live(host, 40), gateway.tail())
    await asyncio.sleep(2)

    last = time.time()
    await until(lambda: all(complete(host, c, units[c], kills, last) for c in COUNTERS), 30)
    for path in COUNTERS:
        points = arrivals.check(path, host, path, units[path], kills, last)
        for i, gap in enumerate(gaps):
            # What was read just before the kill may be lost.
            arrivals.check_history(f"{path}, outage {i + 1}", points, gap)
    code, took = await gateway.end()
    ok("SIGTERM: exit 0 within 5 s", code == 0 and took < 5, f"code {code}, {took:.1f} s")
    rules.check_log(host.of("NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH", "NDEATH"), "over all outages")
    seqs = [bd_seq(m) for m in host.of("NBIRTH")]
    ok("bdSeq grows with every session", all((b - a) % 256 in range(1, 100) for a, b in zip(seqs, seqs[1:])), seqs)


def complete(host, path, unit, kills, last):
    """Whether all that must come is there."""
    have = {p.value for p in host.values(path)}
    return all(v in have for v, at in unit.served
               if at < last and not any(0 <= kill - at < arrivals.DURABLE_AFTER for kill in kills))
