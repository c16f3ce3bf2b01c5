"""Plain MQTT through mosquitto to paho: JSON that others read, retained values, writes, and nothing lost while the
broker is away twice and the gateway is restarted."""

import asyncio
import json
import os
import threading
import time

from paho.mqtt import client as paho

from broker import Broker
from check import equal, ok, section, until
from drain import Wide
from field import TcpPeer, Unit
from gateway import Gateway
from plant import free_port, head, tcp
from scada import GROWTH, resident

GROUP, NODE = "interop", "gateway-4"
TAGS, EVERY_MS = 10, 100
# Of the flood, each some 2 MiB and 500 valid commands.
ROUNDS = 20


def config(folder, mqtt, net, http):
    """Ten counters, one message each, and all again in batches at QoS 0; a setpoint."""
    tags = "\n".join(f't{i} = {{ at = "input:{i}", type = "u16", report = "always" }}' for i in range(TAGS))
    return f"""\
{head(NODE, fast=f'{EVERY_MS}ms')}
[store]
path = "{folder}/store"

[system]
enabled = false

[[publish.mqtt]]
name = "tags"
broker = "mqtt://127.0.0.1:{mqtt}"
client-id = "plain-tags"
per = "tag"
topic = "plain/{{node}}/{{device}}/{{tag}}"
retain = true
status-topic = "plain/{{node}}/status"
commands = "plain/{{node}}/set"

[[publish.mqtt]]
name = "batches"
broker = "mqtt://127.0.0.1:{mqtt}"
client-id = "plain-batches"
topic = "batches/{{node}}"
qos = 0
max-delay = "500ms"

[publish.http]
listen = "127.0.0.1:{http}"

{tcp("net", net.port)}
[[device]]
name = "values"
link = "net"
unit = 1
[device.tag]
{tags}

[[device]]
name = "pump"
link = "net"
unit = 2
[device.tag]
speed = {{ at = "holding:0", type = "u16", high = 100, access = "read-write" }}
"""


class Cloud:
    """Subscribed with a session that outlives outages; keeps all it gets."""

    def __init__(self, port, name, topic):
        self.came = []
        self.client = paho.Client(name, clean_session=False)
        ready = threading.Event()
        self.client.on_connect = lambda c, *_: c.subscribe(topic, 1)
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = lambda _c, _u, m: m.topic.endswith("/set") or self.came.append(
            (m.topic, m.payload.decode(), m.retain))
        self.client.reconnect_delay_set(0.1, 0.2)
        self.client.connect("127.0.0.1", port, 60)
        self.client.loop_start()
        if not ready.wait(10):
            raise RuntimeError("mosquitto does not answer the cloud")

    def close(self):
        """Leaves the broker."""
        self.client.disconnect()
        self.client.loop_stop()

    def of(self, topic):
        """Payloads and retain flags of a topic."""
        return [(payload, retain) for t, payload, retain in list(self.came) if t == topic]

    def json(self, topic):
        """The messages of a topic."""
        return [json.loads(payload) for payload, _ in self.of(topic)]


async def run(folder):
    """All of it."""
    section("plain MQTT: mosquitto and paho")
    folder.mkdir(parents=True)
    broker = Broker(folder / "broker", free_port())
    # It saves when it is told to end, which is enough here: to save at each change would be the bound of the flood.
    broker.config.write_text(broker.config.read_text().replace("autosave_on_changes true", "autosave_on_changes false"))
    unit, pump = Wide(1, TAGS), Unit(2, {"holding": [50]})
    net = TcpPeer(free_port(), [unit, pump])
    http = free_port()
    gateway = Gateway(folder, config(folder, broker.port, net, http), http)
    cloud = late = None
    try:
        await broker.start()
        await net.start()
        cloud = Cloud(broker.port, "plain-cloud", "#")
        gateway.start()
        t0 = f"plain/{NODE}/values/t0"
        ok("values arrive", await until(lambda: len(cloud.of(t0)) > 10, 20), gateway.tail())
        one = cloud.json(t0)[-1]
        # Where this machine's clock is not synchronised the message says so.
        equal("a message of a tag has these fields", sorted(set(one) - {"synchronised"}),
              ["device", "quality", "tag", "timestamp", "value"])
        ok("its time is now", abs(one["timestamp"] / 1000 - time.time()) < 10, one)
        await commands(cloud, pump)
        await flood(broker, cloud, gateway)
        for _ in range(2):
            await broker.stop()
            await asyncio.sleep(3)
            await broker.start()
            count = len(cloud.of(t0))
            await until(lambda count=count: len(cloud.of(t0)) > count + 30, 60)
        code, took = await gateway.end()
        ok("SIGTERM: exit 0 within 5 s", code == 0 and took < 5, f"code {code}, {took:.1f} s")
        ok("it says that it is offline",
           await until(lambda: cloud.of(f"plain/{NODE}/status")[-1][0] == "offline", 5), cloud.of(f"plain/{NODE}/status"))
        gateway.start()
        await until(lambda: cloud.of(f"plain/{NODE}/status")[-1][0] == "online", 20)
        last = time.time()
        wanted = {n + 1 for n, at in enumerate(unit.served) if at < last}
        await until(lambda: not missing(cloud, wanted), 60)
        for i in range(TAGS):
            values = cloud.json(f"plain/{NODE}/values/t{i}")
            lost = wanted - {v["value"] for v in values}
            ok(f"t{i}: 0 of {len(wanted)} lost over two outages and a restart", not lost, sorted(lost)[:10])
            live = [v["value"] for v in values if not v.get("historical")]
            equal(f"t{i}: live values come in order", live, sorted(live))
        gone = wanted - batched(cloud)
        ok("batches at QoS 0: none lost either", not gone, sorted(gone)[:10])
        ok("history is marked", any(v.get("historical") for v in cloud.json(t0)))
        late = Cloud(broker.port, "plain-late", f"plain/{NODE}/#")
        ok("who comes late gets each last value",
           await until(lambda: all(late.of(f"plain/{NODE}/values/t{i}") for i in range(TAGS)), 10))
        first = late.of(t0)[0]
        newest = max(v["value"] for v in cloud.json(t0))
        ok("it is retained, new and not history",
           first[1] and json.loads(first[0])["value"] >= newest - 20 and "historical" not in json.loads(first[0]), first)
        await gateway.end()
    finally:
        gateway.cleanup()
        for client in (cloud, late):
            if client:
                client.close()
        await net.stop()
        await broker.stop()


def missing(cloud, wanted):
    """Whether a value of any tag, or of the batches, is not there."""
    topics = [f"plain/{NODE}/values/t{i}" for i in range(TAGS)]
    return any(wanted - {v["value"] for v in cloud.json(topic)} for topic in topics) or wanted - batched(cloud)


def batched(cloud):
    """The values of t0 in all batches."""
    return {s["value"] for m in cloud.json(f"batches/{NODE}") for s in m["samples"] if s["tag"] == "t0"}


async def commands(cloud, pump):
    """A write that is taken, and those that are not."""
    topic, result = f"plain/{NODE}/set", f"plain/{NODE}/set/result"
    cloud.client.publish(topic, json.dumps({"tag": "pump/speed", "value": 42, "id": "a"}), 1)
    await until(lambda: cloud.of(result), 10)
    equal("a write is answered", cloud.json(result), [{"id": "a", "tag": "pump/speed", "ok": True}])
    speed = f"plain/{NODE}/pump/speed"
    ok("and its value comes home", await until(lambda: cloud.json(speed)[-1]["value"] == 42, 10), cloud.json(speed))
    old = int(time.time() * 1000) - 61_000
    for bad in ({"tag": "pump/speed", "value": 101}, {"tag": "pump/speed", "value": 1, "timestamp": old},
                {"tag": "values/t0", "value": 1}, {"tag": "no/such", "value": 1}, "garbage"):
        cloud.client.publish(topic, json.dumps(bad), 1)
    await until(lambda: len(cloud.of(result)) == 6, 10)
    refused = [a.get("reason", "").split(" {")[0] for a in cloud.json(result)[1:]]
    equal("what may not be is refused with a reason", refused,
          ["the value is out of range", "expired", "the tag is read-only", "no such tag", "not as"])


async def flood(broker, cloud, gateway):
    """Garbage, a megabyte, and more commands than any device takes: refused and counted, and the memory stays."""
    topic, result, t0 = f"plain/{NODE}/set", f"plain/{NODE}/set/result", f"plain/{NODE}/values/t0"
    write = json.dumps({"tag": "pump/speed", "value": 7, "id": "x" * 200}).encode()
    payloads = [os.urandom(1000), os.urandom(2**20), b"[" * 2**20, b'{"tag":"' + b"a" * 60_000 + b'","value":1}'] + [write] * 500

    async def once():
        for payload in payloads:
            cloud.client.publish(topic, payload, 0)
        # What comes after them tells that they were read. It may be refused itself: so few commands may wait.
        name = str(time.time())
        for _ in range(100):
            cloud.client.publish(topic, json.dumps({"tag": "no/such", "value": 1, "id": name}), 1)
            if await until(lambda: any(name in payload for payload, _ in cloud.of(result)[-300:]), 0.2):
                return
        raise RuntimeError("a command after the flood is not answered")

    async def refused():
        return await gateway.counter("fieldgate_publisher_refused_total", "tags")

    for _ in range(4):
        await once()
    before, counted, came = resident(gateway.pid), await refused(), len(cloud.of(t0))
    began = time.monotonic()
    for _ in range(ROUNDS):
        await once()
    took = time.monotonic() - began
    grown = resident(gateway.pid) - before
    rate = ROUNDS * payloads.count(write) / took
    print(f"     a flood of {ROUNDS * sum(map(len, payloads)) >> 20} MiB in {took:.1f} s, {rate:.0f} valid commands a second:"
          f" {before >> 20} MiB resident, {grown / 2**20:+.1f} MiB")
    ok("a flood of commands leaves the memory as it was", grown < GROWTH, f"{grown >> 20} MiB more")
    # Twenty a second of a tag are let through.
    ok("a flood is counted as refused", await refused() >= counted + ROUNDS * (len(payloads) - 200), (counted, await refused()))
    equal("a flood ends no connection", broker.clients().count("plain-tags"), 1)
    ok("values come all along", len(cloud.of(t0)) > came + 5, len(cloud.of(t0)) - came)
    await asyncio.sleep(1.1)
    cloud.client.publish(topic, json.dumps({"tag": "pump/speed", "value": 9, "id": "after"}), 1)
    ok("a write after it is done", await until(lambda: {"id": "after", "tag": "pump/speed", "ok": True} in cloud.json(result)[-20:], 10))
