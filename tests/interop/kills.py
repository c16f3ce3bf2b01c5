"""Check 9: mosquitto is killed again and again while two counters count up: nothing lost, doubles only of what was under way.

A kill counts only where the gateway was born again and live values flow. What may come twice is what was sent since the
last fence that is known to be settled. The broker's log has each packet: the gateway writes a fence (SUBSCRIBE) only when
the one before it was answered, so all that came before the last but one of a session is settled.
"""

import asyncio
import os
import random
import re
import time

import arrivals
import outage
import rules
from broker import Broker
from check import equal, ok, section, until
from field import Cable, RtuPeer, TcpPeer, Unit
from gateway import Gateway
from host import Host, bd_seq, sessions
from plant import free_port

# 30 kills, 10 s apart, are the full length: FIELDGATE_KILLS=30 FIELDGATE_KILL_EVERY=10.
KILLS = int(os.environ.get("FIELDGATE_KILLS", "6"))
EVERY = float(os.environ.get("FIELDGATE_KILL_EVERY", "8"))
SEED = int(os.environ.get("FIELDGATE_KILL_SEED", str(int(time.time()))))
CLIENT = "durable-gateway"
TYPES = ("NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH")


async def run(folder):
    """Some KILLS times EVERY seconds."""
    section(f"9 the broker is killed {KILLS} times, every {EVERY:g} s (FIELDGATE_KILL_SEED={SEED})")
    folder.mkdir(parents=True)
    broker = Broker(folder / "broker", free_port())
    cable = Cable(folder, "bus")
    units = {path: Unit(2, counter=True) for path in outage.COUNTERS}
    net, bus = TcpPeer(free_port(), [units["net-count/count"]]), RtuPeer(cable, [units["bus-count/count"]])
    config = outage.config(folder, broker.port, net, cable)
    # Sent as they come and not commit by commit: then something is under way whenever the broker is killed.
    gateway = Gateway(folder, config.replace('durability = "always"', 'durability = "spill"'))
    # A few sessions before its turn from 255 to 0.
    memory = folder / "store/publishers/cloud"
    memory.mkdir(parents=True)
    (memory / "bdseq").write_text("252")
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


async def flows(host, seconds):
    """Waits until values read from now on arrive as live data of each counter, not by a birth."""
    now_ms = time.time() * 1000

    def live(path):
        return any(p.kind == "DDATA" and not p.history and p.ms > now_ms for p in reversed(host.values(path)[-20:]))

    return await until(lambda: all(live(path) for path in outage.COUNTERS), seconds)


async def story(broker, gateway, host, units):
    """The kills, and what must have arrived at the end."""
    ok("live values arrive", await flows(host, 20), gateway.tail())
    chance, away, began = random.Random(SEED), [], time.time()
    for kill in range(KILLS):
        births = len(host.of("NBIRTH"))
        # Somewhere between two fences and two values.
        await asyncio.sleep(max(0.0, began + kill * EVERY - time.time()) + chance.uniform(0, 0.5))
        killed = time.time()
        await broker.stop(kill=True)
        await asyncio.sleep(chance.uniform(0.2, EVERY / 4))
        await broker.start()
        is_back = await until(lambda: len(host.of("NBIRTH")) > births, 60) and await flows(host, 30)
        away.append((killed, time.time()))
        if not ok(f"kill {kill + 1}: born again, and live values flow", is_back, gateway.tail()):
            return
    took = time.time() - began
    print(f"     {KILLS} kills in {took:.0f} s; away for {min(b - a for a, b in away):.1f} to {max(b - a for a, b in away):.1f} s")
    last = time.time()
    await until(lambda: all(outage.complete(host, c, units[c], [], last) for c in units), 60)
    code, ended = await gateway.end()
    ok("SIGTERM: exit 0 within 5 s", code == 0 and ended < 5, f"code {code}, {ended:.1f} s")
    await until(lambda: len(host.of("NDEATH")) > KILLS, 5)
    messages = host.of(*TYPES)
    for path, unit in units.items():
        # No kill of the gateway: not one value is excused.
        arrivals.check(path, host, path, unit, [], last)
    rules.check_log(messages, f"over {KILLS} kills")
    check_sessions(broker, sessions(messages))
    for path, unit in units.items():
        check_flags(path, unit, host.values(path), away)
    check_doubles(broker, host, units, sessions(messages))


def check_sessions(broker, cut):
    """One NBIRTH a connection, each with the bdSeq after that of the one before."""
    connects = broker.clients().count(CLIENT)
    equal("one session a kill, and the first", (connects, len(cut)), (KILLS + 1, KILLS + 1))
    numbers = [bd_seq(session[0]) for session in cut]
    wanted = [(numbers[0] + i) % 256 for i in range(len(numbers))]
    equal("bdSeq is one more (modulo 256) with every successful CONNECT", numbers, wanted)


def check_flags(path, unit, points, away):
    """Older than the birth: history. Newer: live. Both in the order of time, and of what was read while away nothing is left out."""
    wrong, back, births = [], [], []
    line = {False: (0, -1), True: (0, -1)}
    for point in points:
        if point.kind == "DBIRTH":
            births.append(point)
            line = {False: (0, -1), True: (0, -1)}
        elif point.kind == "DDATA" and births and not point.null:
            if point.history != (point.ms <= births[-1].ms):
                wrong.append((point.value, point.ms, births[-1].ms, point.history))
            # Two reads may fall into one millisecond; the counter says which was first.
            ms, value = line[point.history]
            if point.ms < ms or point.value <= value:
                back.append((point.value, point.ms, line[point.history], point.history))
            line[point.history] = (point.ms, point.value)
    equal(f"{path}: what is older than its session's birth is flagged historical, and nothing else", wrong[:3], [])
    equal(f"{path}: history and live values of a session come in the order of time, each once", back[:3], [])
    flagged = {p.value for p in points if p.history and p.kind == "DDATA"}
    told = {p.value for p in births}
    count, unflagged = 0, []
    for (killed, _), birth in zip(away, births[1:]):
        read = [value for value, at in unit.served if killed < at and at * 1000 < birth.ms - 5]
        count += len(read)
        unflagged += [value for value in read if value not in flagged and value not in told]
    ok(f"{path}: {count} values were read while the broker was away", count >= KILLS)
    equal(f"{path}: all of them came flagged historical", unflagged[:3], [])


def under_way(broker):
    """By the broker's log, session by session: how many messages of the gateway came at all, and how many of them before
    the last fence that is known to be settled."""
    found = []
    word = re.compile(rf"New client connected from \S+ as {CLIENT} \(|Received (PUBLISH|SUBSCRIBE) from {CLIENT}\b")
    for line in broker.log.read_text(errors="replace").splitlines():
        match = word.search(line)
        if match is None:
            continue
        if match[1] is None:
            found.append({"came": 0, "fences": []})
        elif match[1] == "SUBSCRIBE":
            found[-1]["fences"].append(found[-1]["came"])
        elif "/NDEATH/" not in line:
            found[-1]["came"] += 1
    return [(s["came"], s["fences"][-2] if len(s["fences"]) > 1 else 0) for s in found]


def check_doubles(broker, host, units, cut):
    """Whatever comes again was under way when the broker was killed."""
    known = under_way(broker)
    equal("the host saw no more than the broker took", [i for i, s in enumerate(cut) if len(s) > known[i][0]], [])
    place = {id(message): (i, at) for i, session in enumerate(cut) for at, message in enumerate(session)}
    bound = sum(sum(len(m.raw.metrics) for m in session[known[i][1]:]) for i, session in enumerate(cut[:-1]))
    by_time = {(m.at, m.type, m.device): m for session in cut for m in session}
    doubles, settled = 0, []
    for path in units:
        came = {}
        for point in host.values(path):
            if point.kind == "DDATA":
                came.setdefault(point.value, []).append(point)
        for value, times in came.items():
            doubles += len(times) - 1
            for point in times[:-1]:
                session, at = place[id(by_time[point.at, point.kind, path.split("/")[0]])]
                if at < known[session][1]:
                    settled.append((path, value, session, at, known[session]))
    equal("no value comes again that a settled fence covered", settled[:3], [])
    ok(f"doubles are at most what was under way: {doubles} of {bound} metrics over {KILLS} kills", doubles <= bound)
