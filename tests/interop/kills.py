"""Check 9: mosquitto is killed again and again while two counters count up; nothing may be missing at the end."""

import asyncio
import os
import random
import time

import arrivals
import outage
import rules
from broker import Broker
from check import equal, ok, section, until
from field import Cable, RtuPeer, TcpPeer, Unit
from gateway import Gateway
from host import Host, bd_seq
from plant import free_port

# 30 kills, 10 s apart, are the full length: FIELDGATE_KILLS=30 FIELDGATE_KILL_EVERY=10.
KILLS = int(os.environ.get("FIELDGATE_KILLS", "8"))
EVERY = float(os.environ.get("FIELDGATE_KILL_EVERY", "4"))
SEED = int(os.environ.get("FIELDGATE_KILL_SEED", str(int(time.time()))))


async def run(folder):
    """Some KILLS times EVERY seconds."""
    section(f"9 the broker is killed {KILLS} times, every {EVERY:g} s (FIELDGATE_KILL_SEED={SEED})")
    folder.mkdir(parents=True)
    broker = Broker(folder / "broker", free_port())
    cable = Cable(folder, "bus")
    units = {path: Unit(2, counter=True) for path in outage.COUNTERS}
    net, bus = TcpPeer(free_port(), [units["net-count/count"]]), RtuPeer(cable, [units["bus-count/count"]])
    gateway = Gateway(folder, outage.config(folder, broker.port, net, cable))
    host = None
    try:
        await broker.start()
        await cable.plug()
        await net.start()
        await bus.start()
        host = Host(broker.port, outage.GROUP, outage.NODE, "kills-host")
        gateway.start()
        await story(broker, gateway, host, units)
    finally:
        gateway.cleanup()
        if host:
            host.close()
        for peer in (net, bus):
            await peer.stop()
        await cable.unplug()
        await broker.stop()


async def story(broker, gateway, host, units):
    """The kills, and what must have arrived at the end."""
    ok("live values arrive", await outage.live(host), gateway.tail())
    chance, away = random.Random(SEED), []
    for _ in range(KILLS):
        before = chance.uniform(0, EVERY / 2)
        await asyncio.sleep(before)
        killed = time.time()
        await broker.stop(kill=True)
        await asyncio.sleep(chance.uniform(0, EVERY / 4))
        away.append((killed, time.time()))
        await broker.start()
        await asyncio.sleep(max(0.0, EVERY - before - (time.time() - killed)))
    ok("live values arrive after the last kill", await outage.live(host, 60), gateway.tail())
    last = time.time()
    await until(lambda: all(outage.complete(host, c, units[c], [], last) for c in units), 60)
    for path, unit in units.items():
        # No kill of the gateway: not one value is excused.
        points = arrivals.check(path, host, path, unit, [], last)
        flagged = {p.value for p in points if p.history}
        # The last one before a birth is the birth's own value too.
        unflagged = [[v for v, at in unit.served if begin + 0.5 < at < end and v not in flagged] for begin, end in away]
        equal(f"{path}: what was read while the broker was away is flagged historical", [u[1:] for u in unflagged if u[1:]], [])
    ok("the gateway ran all the time", gateway.is_running(), gateway.tail())
    rules.check_log(host.of("NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH", "NDEATH"), f"over {KILLS} kills")
    numbers = [bd_seq(m) for m in host.of("NBIRTH")]
    ok("there were several sessions", len(set(numbers)) > KILLS // 4, numbers)
    ok("bdSeq grows with every session", all((b - a) % 256 in range(0, 100) for a, b in zip(numbers, numbers[1:])), numbers)
    code, took = await gateway.end()
    ok("SIGTERM: exit 0 within 5 s", code == 0 and took < 5, f"code {code}, {took:.1f} s")
