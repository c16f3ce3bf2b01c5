"""Check 2: the rules of Sparkplug, as seen on the wire by the broker and by a host."""

from check import equal, ok, until
from host import bd_seq, sessions

ORDERED = ("NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH")


def check_log(messages, title):
    """What must hold for all messages of a gateway, whatever happened."""
    equal(f"{title}: pysparkplug decodes every message", [(m.type, m.device, m.trouble) for m in messages if m.trouble][:3], [])
    jumps, unborn, aliases, mixed, born_twice = [], [], [], [], []
    for session in sessions(messages):
        expected, born, known = 0, set(), {}
        for message in session:
            if message.type not in ORDERED:
                continue
            if message.seq != expected:
                jumps.append((message.type, message.device, message.seq, expected))
            expected = ((message.seq if message.seq is not None else expected) + 1) % 256
            if message.type in ("NBIRTH", "DBIRTH"):
                for metric in message.raw.metrics:
                    if metric.HasField("alias"):
                        owner = (message.device, metric.name)
                        if known.setdefault(metric.alias, owner) != owner:
                            aliases.append((metric.alias, owner))
            if message.type == "DBIRTH":
                if message.device in born:
                    born_twice.append(message.device)
                born.add(message.device)
            elif message.type in ("DDATA", "DDEATH") and message.device not in born:
                unborn.append((message.type, message.device))
            if message.type == "DDEATH":
                born.discard(message.device)
            if message.type in ("NDATA", "DDATA") and len({m.is_historical for m in message.raw.metrics}) > 1:
                mixed.append((message.type, message.device))
    ok(f"{title}: there was a birth", bool(sessions(messages)))
    equal(f"{title}: seq starts at 0 with NBIRTH and grows by 1 modulo 256", jumps[:3], [])
    equal(f"{title}: no data of a device before its DBIRTH or after its DDEATH", unborn[:3], [])
    equal(f"{title}: no second DBIRTH without a death between", born_twice[:3], [])
    equal(f"{title}: aliases are unique in the edge node", aliases[:3], [])
    equal(f"{title}: history comes in payloads of its own", mixed[:3], [])
    narrow = [(m.device, metric.name, metric.int_value) for m in messages for metric in m.raw.metrics
              if metric.datatype in (1, 2) and metric.HasField("int_value")
              and not (metric.int_value < 1 << 8 * metric.datatype - 1 or metric.int_value >= (1 << 32) - (1 << 8 * metric.datatype - 1))]
    equal(f"{title}: Int8 and Int16 are sign-extended", narrow[:3], [])
    births = [m for m in messages if m.type == "NBIRTH"]
    equal(f"{title}: a birth has exactly one bdSeq", [m.seq for m in births if bd_seq(m) is None], [])


def check_broker(broker, client, title):
    """What the broker says of QoS and retain."""
    received = broker.received(client)
    ok(f"{title}: the broker received messages", bool(received))
    # NDEATH before a clean DISCONNECT is the one that may be of another QoS.
    data = [r for r in received if "/NDEATH/" not in r[2]]
    equal(f"{title}: births, data and deaths of devices are QoS 0", [r for r in data if r[0] != 0][:3], [])
    equal(f"{title}: nothing is retained", [r for r in received if r[1] != 0][:3], [])
    wills = broker.wills()
    ok(f"{title}: the will is NDEATH, QoS 1, not retained",
       wills and all(q == 1 and r == 0 and "/NDEATH/" in topic for q, r, topic in wills), wills[:3])


async def check_rebirth(host):
    """Node Control/Rebirth brings all births again, and bdSeq stays."""
    births = host.of("NBIRTH")
    seq, count = bd_seq(births[-1]), len(births)
    devices = {d for d in host.alive if d and host.alive[d]}
    control = [m.name for m in births[-1].raw.metrics if m.name == "Node Control/Rebirth"]
    equal("the NBIRTH offers Node Control/Rebirth", control, ["Node Control/Rebirth"])
    at = host.count()
    host.command(None, "Node Control/Rebirth", "BOOLEAN", True)

    def reborn():
        return {m.device for m in host.messages[at:] if m.type == "DBIRTH"} >= devices

    await until(reborn, 5)
    again = host.of("NBIRTH")
    equal("a rebirth command brings one NBIRTH", len(again), count + 1)
    equal("a rebirth brings a DBIRTH of each device that is alive",
          sorted(devices - {m.device for m in host.messages[at:] if m.type == "DBIRTH"}), [])
    equal("a rebirth keeps bdSeq", bd_seq(again[-1]), seq)
    at = host.count()
    host.command(None, "Node Control/Rebirth", "BOOLEAN", False)
    for junk in (b"", b"\xff" * 40, bytes(12000)):
        host.raw_command(None, junk)
        host.raw_command("plc", junk)
    count = len(host.values("net-count/count"))
    alive = await until(lambda: len(host.values("net-count/count")) > count + 3, 5)
    ok("garbage commands do no harm, and false is no rebirth",
       alive and not [m for m in host.messages[at:] if m.type == "NBIRTH"])


def check_properties(host):
    """Engineering units of the configuration are properties of the births."""
    units = host.properties.get("plc/scaled_i16", {})
    equal("a birth tells the engineering unit", units.get("engUnit"), "°C")
    limits = host.properties.get("plc/limited_u16", {})
    equal("a birth tells the limits", (limits.get("engLow"), limits.get("engHigh")), (0.0, 100.0))
