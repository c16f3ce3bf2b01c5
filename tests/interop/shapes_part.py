"""Part `shapes`: templates, DataSets and compression over MQTT 5, websockets and TLS, births decoded by npm's
sparkplug-payload, data by protobuf with the official schema: one gateway, three brokers of mosquitto that each want
another way in. That decoder knows no arrays: they are in the part `arrays`."""

import asyncio
import base64
import json
import struct
import subprocess
import threading
import time

from broker import Broker
from certificates import Authority
from check import equal, listens, ok, section, until
from cryptography.x509.oid import ExtendedKeyUsageOID
from field import TcpPeer, Unit
from gateway import ROOT, Gateway
from node_client import NODE
from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from plant import free_port, head, tcp
from pysparkplug._protobuf import Payload as Protobuf

GROUP, NODE_NAME = "interop", "shapes"
# A birth with `wide` has more than this, so that its tags are split over devices where the broker takes no more.
MOST = 16_000
WIDE = 400
POWERS = (12.5, -3.0)


def config(folder, brokers, authority, modbus):
    """Two meters of one profile, a recipe, arrays, and many tags."""
    wide = "\n".join(f'value-of-a-long-name-{at} = {{ at = "holding:{300 + at}", type = "u16", unit = "bar" }}'
                     for at in range(WIDE))
    meters = "\n".join(f"""\
[[device]]
name = "meter-{unit}"
link = "net"
unit = {unit}
scan = "fast"
profile = "meter"
""" for unit in (1, 2))
    return f"""\
{head(NODE_NAME, fast="100ms")}
[system]
enabled = false

[store]
path = "{folder}/store"

[[publish.sparkplug]]
name = "five"
broker = "mqtt://127.0.0.1:{brokers['five'].port}"
mqtt = "5"
templates = true
compression = "gzip"
allow = ["next-server"]

[[publish.sparkplug]]
name = "web"
broker = "ws://127.0.0.1:{brokers['web'].web}/mqtt"
compression = "deflate"

[[publish.sparkplug]]
name = "tls"
broker = ["mqtts://127.0.0.1:{brokers['tls'].port}", "wss://127.0.0.1:{brokers['tls'].web}/mqtt"]
allow = ["next-server"]
ca = "{authority.ca}"
certificate = "{authority.path('gateway.pem')}"
key = {{ file = "{authority.path('gateway.key')}" }}
templates = true

[profile.meter]
description = "A meter"
manufacturer = "Acme"
model = "M1"
[profile.meter.tag]
power = {{ at = "holding:0", type = "f32", unit = "kW", access = "read-write" }}
run = {{ at = "coil:0", type = "bool" }}
energy = {{ at = "holding:2", type = "u64" }}

{tcp("net", modbus)}
{meters}
[[device]]
name = "mixer"
link = "net"
unit = 3
scan = "fast"
table = {{ recipe = {{ columns = ["step", "temp"], rows = [["s1", "t1"], ["s2", "t2"]] }} }}
[device.tag]
s1 = {{ at = "holding:0", type = "u32" }}
t1 = {{ at = "holding:2", type = "f32" }}
s2 = {{ at = "holding:4", type = "u32" }}
t2 = {{ at = "holding:6", type = "f32" }}

[[device]]
name = "wide"
link = "net"
unit = 3
scan = "fast"
[device.tag]
{wide}
"""


def registers(value, form=">f"):
    """As they lie in a device, the high word first."""
    raw = struct.pack(form, value)
    return [int.from_bytes(raw[at:at + 2], "big") for at in range(0, len(raw), 2)]


class Listener:
    """Keeps what comes, as the decoder understands it. Each comes in by the way that its broker wants."""

    def __init__(self, broker, **way):
        five = way.pop("five", False)
        # A session that the broker keeps, so that nothing is missed while it is away.
        self.client = paho.Client("shapes-host", clean_session=None if five else False,
                                  protocol=paho.MQTTv5 if five else paho.MQTTv311, transport=way.pop("transport", "tcp"))
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 3600
        session = {"clean_start": False, "properties": session} if five else {}
        self.messages, self._raw = [], []
        self._lock = threading.Lock()
        self.decoder = subprocess.Popen([NODE, ROOT / "target/interop-node/decode.js"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        if "tls" in way:
            self.client.tls_set(**way.pop("tls"))
        self.client.on_connect = lambda client, *_: client.subscribe(f"spBv1.0/{GROUP}/#", 1)
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", way.pop("port", broker.port), **session)
        self.client.reconnect_delay_set(0.1, 0.2)
        self.client.loop_start()

    def _on_message(self, _client, _userdata, message):
        with self._lock:
            self._raw.append((message.topic, message.payload))

    def take(self):
        """All so far, decoded: (type, device, payload)."""
        with self._lock:
            raw, self._raw = self._raw, []
        for topic, payload in raw:
            kind, _, *device = topic.split("/")[2:]
            if kind in ("NCMD", "DCMD"):
                continue
            if kind == "DDATA":
                # Without a type, which only births have, that decoder gives no value.
                self.messages.append((kind, device[0], Protobuf.FromString(payload)))
                continue
            self.decoder.stdin.write(base64.b64encode(payload) + b"\n")
            self.decoder.stdin.flush()
            self.messages.append((kind, device[0] if device else None, json.loads(self.decoder.stdout.readline())))
        return self.messages

    def of(self, kind, device=None):
        """The payloads of one kind."""
        return [payload for k, d, payload in self.take() if (k, d) == (kind, device)]

    def close(self):
        """Ends both."""
        self.client.disconnect()
        self.client.loop_stop()
        self.decoder.stdin.close()
        self.decoder.wait()


def metrics(payload):
    """Name or alias -> metric."""
    return {m.get("name", m.get("alias")): m for m in payload.get("metrics", [])}


async def run(folder):
    """All of it, with one gateway."""
    section("shapes: templates, DataSets and compression over MQTT 5, websockets and TLS")
    folder.mkdir(parents=True)
    authority = Authority(folder / "keys")
    authority.sign("host", "host.interop.example", ExtendedKeyUsageOID.CLIENT_AUTH)
    web, secure_web = free_port(), free_port()
    keys = (f"cafile {authority.ca}\ncertfile {authority.path('device.pem')}\nkeyfile {authority.path('device.key')}\n"
            "require_certificate true\nuse_subject_as_username true\n")
    ways = {
        "five": f"max_packet_size {MOST}\n",
        # Beside the usual listener: mosquitto 2.0.11 does not start with websockets alone.
        "web": f"listener {web} 127.0.0.1\nprotocol websockets\n",
        "tls": f"{keys}listener {secure_web} 127.0.0.1\nprotocol websockets\n{keys}",
    }
    brokers = {name: Broker(folder / name, free_port()) for name in ways}
    brokers["web"].web, brokers["tls"].web = web, secure_web
    for name, lines in ways.items():
        with brokers[name].config.open("a") as file:
            file.write(lines)
    meters = [{"holding": registers(power) + registers(2**40 + unit, ">Q"), "coil": [unit == 0]}
              for unit, power in enumerate(POWERS)]
    # In a DataSet this decoder knows no integers of less than 32 bits: it takes such a payload for broken.
    rest = [0, 1, *registers(20.5), 0, 2, *registers(21.5), 0, 0]
    mixer = {"holding": rest + [0] * 290 + list(range(WIDE))}
    peer = TcpPeer(free_port(), [Unit(1, meters[0]), Unit(2, meters[1]), Unit(3, mixer)])
    gateway = Gateway(folder, config(folder, brokers, authority, peer.port))
    hosts = {}
    try:
        for broker in brokers.values():
            await broker.start()
        # A broker begins to listen at one door after the other.
        await until(lambda: listens(web) and listens(secure_web), 10)
        await peer.start()
        own = {"ca_certs": str(authority.ca), "certfile": str(authority.path("host.pem")),
               "keyfile": str(authority.path("host.key"))}
        hosts = {"five": Listener(brokers["five"], five=True),
                 "web": Listener(brokers["web"], transport="websockets", port=web), "tls": Listener(brokers["tls"], tls=own)}
        await asyncio.sleep(0.5)
        gateway.start()
        for name, host in hosts.items():
            ok(f"shapes: {name}: all devices are born",
               await until(lambda host=host: all(host.of("DBIRTH", d) for d in ("meter-1", "meter-2", "mixer", "wide")), 20),
               gateway.tail())
            broken = [p["error"] for k, _, p in host.take() if k != "DDATA" and "error" in p]
            ok(f"shapes: {name}: the decoder understands all of it", not broken, broken[:1])
        templates(hosts["five"], "five")
        templates(hosts["tls"], "tls")
        flat(hosts["web"])
        for name, host in hosts.items():
            tables(host, name)
        compression(hosts)
        split(hosts)
        await changes(hosts, peer)
        await again(brokers["five"], hosts["five"], gateway)
        users = brokers["tls"].log.read_text(errors="replace")
        ok("shapes: the TLS broker took the name from the gateway's certificate",
           "u'CN=gateway.interop.example'" in users, users[-500:])
        await secure_websockets(brokers["tls"], hosts["tls"], gateway)
        await twin(brokers["five"], hosts["five"], gateway)
        await strangers(folder, brokers["tls"], authority, peer)
    finally:
        gateway.cleanup()
        for host in hosts.values():
            host.close()
        await peer.stop()
        for broker in brokers.values():
            await broker.stop()


def templates(host, name):
    """The definition is in the NBIRTH, the instances are in the DBIRTHs (6.4.14 to 6.4.16)."""
    definition = metrics(host.of("NBIRTH")[0]).get("meter", {})
    value = definition.get("value") or {}
    equal(f"shapes: {name}: the NBIRTH has the definition", (definition.get("type"), value.get("isDefinition")), ("Template", True))
    members = {m["name"]: m["type"] for m in value.get("metrics", [])}
    equal(f"shapes: {name}: its members have names and types", members, {"power": "Float", "run": "Boolean", "energy": "UInt64"})
    ok(f"shapes: {name}: it has a version and no reference", value.get("version") and not value.get("templateRef"), value)
    for unit, power in enumerate(POWERS, 1):
        birth = metrics(host.of("DBIRTH", f"meter-{unit}")[0])
        instance = birth.get("meter", {}).get("value") or {}
        equal(f"shapes: {name}: meter-{unit} is an instance of it",
              (instance.get("isDefinition"), instance.get("templateRef"), instance.get("version")), (False, "meter", value.get("version")))
        got = {m["name"]: m.get("value") for m in instance.get("metrics", [])}
        equal(f"shapes: {name}: with all members and their values", got, {"power": power, "run": unit == 1, "energy": 2**40 + unit - 1})
        said = {p["name"]: p["value"] for p in instance.get("parameters", [])}
        equal(f"shapes: {name}: and its own parameters", said, {"Manufacturer": "Acme", "Model": "M1", "Unit": unit})


def flat(host):
    """Without templates a tag is a metric."""
    birth = metrics(host.of("DBIRTH", "meter-2")[0])
    got = {n: (birth.get(n) or {}).get("value") for n in ("power", "run", "energy")}
    equal("shapes: web: without templates each tag is a metric", got, {"power": POWERS[1], "run": False, "energy": 2**40 + 1})
    ok("shapes: web: and there is no definition", "meter" not in metrics(host.of("NBIRTH")[0]))
    properties = birth["power"].get("properties") or {}
    equal("shapes: web: the unit is a property", (properties.get("engUnit") or {}).get("value"), "kW")


def tables(host, name):
    """A table is a DataSet (6.4.12)."""
    birth = metrics(host.of("DBIRTH", "mixer")[0])
    recipe = (birth.get("recipe") or {}).get("value") or {}
    equal(f"shapes: {name}: a table is a DataSet", (recipe.get("numOfColumns"), recipe.get("columns"), recipe.get("types")),
          (2, ["step", "temp"], ["UInt32", "Float"]))
    equal(f"shapes: {name}: with its rows", recipe.get("rows"), [[1, 20.5], [2, 21.5]])


def compression(hosts):
    """What is large is compressed as configured, what is small is not."""
    for name, algorithm in (("five", "GZIP"), ("web", "DEFLATE"), ("tls", None)):
        births = [p for p in hosts[name].of("DBIRTH", "wide") if p["metrics"]]
        equal(f"shapes: {name}: a large birth comes compressed as {algorithm}", {b["compressed"] for b in births}, {algorithm})


def split(hosts):
    """Where the broker says how much it takes, a device too large for that comes in parts."""
    names = {f"value-of-a-long-name-{at}": at for at in range(WIDE)}
    parts = sorted({d for k, d, _ in hosts["five"].take() if k == "DBIRTH" and d.startswith("wide")})
    ok("shapes: five: the packet limit of CONNACK splits a large device", len(parts) > 1, parts)
    for name, devices in (("five", parts), ("web", ["wide"]), ("tls", ["wide"])):
        got = {}
        for device in devices:
            got.update({n: m.get("value") for n, m in metrics(hosts[name].of("DBIRTH", device)[0]).items() if n in names})
        equal(f"shapes: {name}: every tag of it is born with its value", got, names)


async def changes(hosts, peer):
    """A member that changes comes in a partial instance, a cell in its table; both by alias."""
    peer.units[1].load({"holding": registers(99.5)})
    peer.units[3].load({"holding": [0, 7]})
    for name, host in hosts.items():
        birth = metrics(host.of("DBIRTH", "meter-1")[0])
        alias = birth["meter" if name != "web" else "power"]["alias"]

        def told(host=host, alias=alias, name=name):
            for payload in host.of("DDATA", "meter-1"):
                for metric in (m for m in payload.metrics if m.alias == alias):
                    instance = metric.template_value
                    got = [(m.name, m.float_value) for m in instance.metrics]
                    partial = instance.template_ref == "meter" and instance.HasField("is_definition") and not instance.is_definition
                    if metric.float_value == 99.5 if name == "web" else partial and got == [("power", 99.5)]:
                        return True
            return False

        ok(f"shapes: {name}: the change comes, and nothing else with it", await until(told, 10), host.of("DDATA", "meter-1")[-1:])
        table = metrics(host.of("DBIRTH", "mixer")[0])["recipe"]["alias"]

        def cell(host=host, table=table):
            sets = [m.dataset_value for p in host.of("DDATA", "mixer") for m in p.metrics if m.alias == table]
            return sets and [(r.elements[0].long_value, r.elements[1].float_value) for r in sets[-1].rows] == [(7, 20.5), (2, 21.5)]

        ok(f"shapes: {name}: the table with its new cell", await until(cell, 10), host.of("DDATA", "mixer")[-1:])


async def again(broker, host, gateway):
    """MQTT 5: the broker is killed; then the next bdSeq, and what was read meanwhile."""
    before = [metrics(p)["bdSeq"]["value"] for p in host.of("NBIRTH")]
    await broker.stop(kill=True)
    await asyncio.sleep(1)
    await broker.start()
    ok("shapes: five: born again after a kill of the broker",
       await until(lambda: len(host.of("NBIRTH")) > len(before), 40), gateway.tail())
    numbers = [metrics(p)["bdSeq"]["value"] for p in host.of("NBIRTH")]
    equal("shapes: five: bdSeq is one more", numbers[len(before)], (before[-1] + 1) % 256)


async def secure_websockets(broker, host, gateway):
    """The same broker by its other door: websockets within TLS, with the certificate."""
    births, before = len(host.of("NBIRTH")), len(host.of("NDEATH"))
    command = Protobuf(timestamp=int(time.time() * 1000))
    metric = command.metrics.add()
    metric.name, metric.datatype, metric.boolean_value = "Node Control/Next Server", 11, True
    host.client.publish(f"spBv1.0/{GROUP}/NCMD/{NODE_NAME}", command.SerializeToString())
    ok("shapes: tls: Next Server: a proper end", await until(lambda: len(host.of("NDEATH")) > before, 10), gateway.tail())
    ok("shapes: tls: born by wss://, with a certificate of its own",
       await until(lambda: len(host.of("NBIRTH")) > births and host.of("DBIRTH", "mixer")[births:], 30), gateway.tail())
    ok("shapes: tls: the broker has it on its websockets", await until(
        lambda: f"broker=wss://127.0.0.1:{broker.web}/mqtt" in gateway.log.read_text(), 5), gateway.tail())


async def twin(broker, host, gateway):
    """MQTT 5: a client with the same id takes the place again and again. This mosquitto gives no reason (0x8E), so it is
    told by the pattern, as in MQTT 3.1.1."""
    other = paho.Client(f"{GROUP}-{NODE_NAME}-five", protocol=paho.MQTTv5)
    other.connect("127.0.0.1", broker.port, clean_start=True)
    other.loop_start()
    ok("shapes: five: a take-over is named", await until(
        lambda: "another client with the same client id takes its place" in gateway.log.read_text(), 60), gateway.tail())
    births = len(host.of("NBIRTH"))
    other.disconnect()
    other.loop_stop()
    ok("shapes: five: born again when the place is free", await until(lambda: len(host.of("NBIRTH")) > births, 40), gateway.tail())


async def strangers(folder, broker, authority, peer):
    """A gateway whose certificate another authority signed gets nowhere, and says why."""
    other = Authority(folder / "other")
    text = config(folder / "stranger", {n: broker for n in ("five", "web", "tls")}, authority, peer.port)
    head, rest = text.split("[[publish.sparkplug]]")[0], text.split("[[publish.sparkplug]]")[3]
    stranger = Gateway(folder / "stranger", head + "[[publish.sparkplug]]" + rest.replace(
        str(authority.path("gateway")), str(other.path("gateway"))))
    try:
        stranger.start()
        ok("shapes: a certificate of another authority is refused, and the log says that it is the certificate",
           await until(lambda: "refused TLS with the alert" in stranger.tail(), 20),
           stranger.tail())
        ok("shapes: and the gateway goes on", stranger.is_running(), stranger.tail())
    finally:
        stranger.cleanup()
