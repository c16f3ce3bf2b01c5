"""A Sparkplug host: paho-mqtt to listen, pysparkplug to decode. Keeps all that it saw."""

import threading
import time
from dataclasses import dataclass

import pysparkplug as sp
from paho.mqtt import client as paho
from pysparkplug import _datatype
from pysparkplug._protobuf import Payload as Protobuf  # the generated classes: pysparkplug drops the properties

# pysparkplug 0.6.1 refuses negative Int8 and Int16 that are sign-extended to the 32 bits of `int_value`
# (its issue 26), which is what Eclipse Tahu sends and what npm's sparkplug-payload needs to be sent:
# the mask is what its author was offered as the mend. `rules.check_log` looks at the upper bits.
for kind, bits in ((sp.DataType.INT8, 8), (sp.DataType.INT16, 16)):
    _datatype._decoders[kind] = lambda value, bits=bits: _datatype._int_decoder(value & (1 << bits) - 1, bits)


@dataclass
class Seen:
    """One message as it came."""
    at: float  # seconds since 1970
    type: str
    device: str | None
    qos: int
    retain: bool
    seq: int | None
    payload: object  # pysparkplug
    raw: object  # protobuf
    trouble: str = ""


@dataclass
class Point:
    """One value of a metric as it came."""
    path: str  # device/tag, node metrics without a device
    value: object
    type: str
    ms: int | None
    quality: int | None
    null: bool
    history: bool
    kind: str  # the message's type
    at: float


class Host:
    """Listens to one group with a session that the broker keeps."""

    def __init__(self, port, group, node, name="interop-host"):
        self.group, self.node = group, node
        self.messages = []
        self.points = []
        self.latest = {}  # path -> Point that was not historical
        self.alive = {}  # device -> born and not dead
        self.properties = {}  # path -> {name: value} of the last birth
        self._births = {}
        self._bd_seq = None
        self._lock = threading.RLock()
        self._ready = threading.Event()
        self.client = paho.Client(name, clean_session=False)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = self._on_message
        self.client.reconnect_delay_set(0.1, 0.2)
        self.client.connect("127.0.0.1", port, 10)
        self.client.loop_start()
        if not self._ready.wait(10):
            raise RuntimeError("mosquitto does not answer the host")

    def close(self):
        """Leaves the broker."""
        self.client.disconnect()
        self.client.loop_stop()

    def _on_connect(self, client, _userdata, _flags, code):
        if code == 0:
            client.subscribe(f"spBv1.0/{self.group}/#", 1)

    def _on_message(self, _client, _userdata, message):
        with self._lock:
            self._take(message)

    def _take(self, message):
        topic = sp.Topic.from_str(message.topic)
        kind, device = str(topic.message_type.value), topic.device_id
        if kind in ("NCMD", "DCMD") or topic.edge_node_id != self.node:
            return
        raw = Protobuf.FromString(message.payload)
        seen = Seen(time.time(), kind, device, message.qos, bool(message.retain),
                    raw.seq if raw.HasField("seq") else None, None, raw)
        self.messages.append(seen)
        try:
            decoded = sp.Message.from_mqtt_message(message, birth=self._births.get(device))
        except Exception as why:  # whatever their decoder dislikes is a finding
            seen.trouble = f"{type(why).__name__}: {why}"
            return
        seen.payload = decoded.payload
        if kind == "NBIRTH":
            self.alive = {None: True}
            self._births = {None: decoded.payload}
            self._bd_seq = bd_seq(seen)
        elif kind == "DBIRTH":
            self.alive[device] = True
            self._births[device] = decoded.payload
        elif kind == "DDEATH":
            self.alive[device] = False
        elif kind == "NDEATH" and bd_seq(seen) == self._bd_seq:
            self.alive = {}
        if not hasattr(decoded.payload, "metrics"):
            return
        for metric, wire in zip(decoded.payload.metrics, raw.metrics):
            self._keep(seen, device, metric, wire)

    def _keep(self, seen, device, metric, wire):
        path = f"{device}/{metric.name}" if device else metric.name
        values = {key: _property(value) for key, value in zip(wire.properties.keys, wire.properties.values)}
        if seen.type in ("NBIRTH", "DBIRTH"):
            self.properties[path] = values
        point = Point(path, metric.value, metric.datatype.name, metric.timestamp, values.get("Quality"),
                      metric.is_null, metric.is_historical, seen.type, seen.at)
        self.points.append(point)
        if not point.history:
            self.latest[path] = point

    def of(self, *kinds, device=...):
        """The messages of these types so far."""
        with self._lock:
            return [m for m in self.messages if m.type in kinds and (device is ... or m.device == device)]

    def values(self, path):
        """All points of a metric so far, in the order in which they came."""
        with self._lock:
            return [p for p in self.points if p.path == path]

    def last(self, path):
        """The last point that was not historical."""
        with self._lock:
            return self.latest.get(path)

    def is_alive(self, device):
        """Born and not dead since."""
        with self._lock:
            return self.alive.get(device, False)

    def count(self):
        """How many messages came so far."""
        with self._lock:
            return len(self.messages)

    def command(self, device, name, kind, value):
        """Sends a NCMD (device None) or DCMD with one metric by name."""
        metric = sp.Metric(timestamp=int(time.time() * 1000), name=name, datatype=sp.DataType[kind], value=value)
        command = (sp.DCmd if device else sp.NCmd)(timestamp=int(time.time() * 1000), metrics=(metric,))
        topic = f"spBv1.0/{self.group}/{'DCMD' if device else 'NCMD'}/{self.node}{'/' + device if device else ''}"
        self.client.publish(topic, command.encode(include_dtypes=True), qos=0)

    def raw_command(self, device, payload):
        """Sends any bytes as a command."""
        topic = f"spBv1.0/{self.group}/{'DCMD' if device else 'NCMD'}/{self.node}{'/' + device if device else ''}"
        self.client.publish(topic, payload, qos=0)


def _property(value):
    field = value.WhichOneof("value")
    return getattr(value, field) if field else None


def sessions(messages):
    """The messages cut at each NBIRTH; what came before the first is left out."""
    cut = []
    for message in messages:
        if message.type == "NBIRTH":
            cut.append([])
        if cut and message.type not in ("NCMD", "DCMD"):
            cut[-1].append(message)
    return cut


def bd_seq(message):
    """The bdSeq of an NBIRTH or NDEATH; None where there is none or two."""
    found = [m.long_value for m in message.raw.metrics if m.name == "bdSeq"]
    return found[0] if len(found) == 1 else None
