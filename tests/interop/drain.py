"""The broker is away while 1,000 samples/s are read: none is lost, each comes as history and in order, live values
do not wait for it. Time is scaled: FIELDGATE_OUTAGE_SECONDS, 600 in the nightly script, where the times count too."""

import asyncio
import os
import threading
import time
from collections import defaultdict

from paho.mqtt import client as paho
from pysparkplug._protobuf import Payload as Protobuf

from broker import Broker
from check import equal, ok, section, until
from field import TcpPeer, Unit
from gateway import Gateway
from plant import free_port, head, tcp

GROUP, NODE = "interop", "gateway-3"
SECONDS = float(os.environ.get("FIELDGATE_OUTAGE_SECONDS", "15"))
# Only where nothing else runs on the machine do times say something.
STRICT = os.environ.get("FIELDGATE_OUTAGE_STRICT") == "1"
TAGS, EVERY_MS = 100, 100


class Wide(Unit):
    """With each read of the input registers all of them grow by one."""

    def __init__(self, number, registers):
        super().__init__(number, areas={"input": [0] * registers})
        self.served = []  # when each count was read

    async def _on_access(self, function, _start, address, _count, registers, values):
        if function == 4 and values is None and address == 0:
            self.served.append(time.time())
            registers[0:] = [len(self.served)] * len(registers)


def config(folder, mqtt, net, node=NODE, count=TAGS, outbox="", more=""):
    """So many values and an alarm, each ten times a second, all reported."""
    tags = "\n".join(f't{i} = {{ at = "input:{i}", type = "u16", report = "always" }}' for i in range(count))
    return f"""\
{head(node, fast=f'{EVERY_MS}ms')}
[store]
path = "{folder}/store"

[system]
enabled = false

[[publish.sparkplug]]
name = "cloud"
broker = "mqtt://127.0.0.1:{mqtt}"
client-id = "{node}"
outbox = {{ {outbox} }}

{tcp("net", net.port)}
[[device]]
name = "alarm"
link = "net"
unit = 1
class = "critical"
[device.tag]
count = {{ at = "input:0", type = "u16", report = "always" }}

[[device]]
name = "values"
link = "net"
unit = 2
[device.tag]
{tags}

{more}
"""


class Recorder:
    """Keeps what comes as it comes, and decodes it when all is over, so that it is never what is waited for."""

    def __init__(self, port, name="drain-host"):
        self.came = []
        self.client = paho.Client(name, clean_session=False)
        ready = threading.Event()
        self.client.on_connect = lambda c, *_: c.subscribe(f"spBv1.0/{GROUP}/#", 1)
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = lambda _c, _u, m: self.came.append((time.time(), m.topic, m.payload))
        self.client.reconnect_delay_set(0.1, 0.2)
        self.client.connect("127.0.0.1", port, 60)
        self.client.loop_start()
        if not ready.wait(10):
            raise RuntimeError("mosquitto does not answer the recorder")

    def close(self):
        """Leaves the broker."""
        self.client.disconnect()
        self.client.loop_stop()

    def points(self):
        """(arrived, path, value, seconds, is historical, is in a birth) of each metric, in the order of arrival."""
        names, points = {}, []
        for at, topic, payload in list(self.came):
            kind, device = topic.split("/")[2], topic.rpartition("/")[2]
            if kind not in ("DBIRTH", "DDATA"):
                continue
            for metric in Protobuf.FromString(payload).metrics:
                if metric.name:
                    names[metric.alias] = f"{device}/{metric.name}"
                if names[metric.alias].startswith(f"{device}/Properties/"):
                    continue
                points.append((at, names[metric.alias], metric.int_value, metric.timestamp / 1000,
                               metric.is_historical, kind == "DBIRTH"))
        return points


async def run(folder):
    """The outage and the time after it."""
    section(f"5 the broker is away for {SECONDS:.0f} s at {TAGS * 1000 // EVERY_MS} samples/s")
    folder.mkdir(parents=True)
    broker = Broker(folder / "broker", free_port())
    units = [Wide(1, 1), Wide(2, TAGS)]
    net = TcpPeer(free_port(), units)
    gateway = Gateway(folder, config(folder, broker.port, net))
    recorder = None
    try:
        await broker.start()
        await net.start()
        recorder = Recorder(broker.port)
        gateway.start()
        ok("live values arrive", await until(lambda: len(recorder.came) > 20, 20), gateway.tail())
        await asyncio.sleep(2)
        stopped = time.time()
        await broker.stop()
        await asyncio.sleep(max(0.0, SECONDS - (time.time() - stopped)))
        back = time.time()
        await broker.start()
        born = lambda: any("/NBIRTH/" in topic and at > back for at, topic, _ in recorder.came[-1000:])
        ok("it is born again", await until(born, 90), gateway.tail())
        await drained(recorder, 90 + SECONDS)
        last = time.time() - 3
        judge(recorder.points(), units, stopped, back, last)
        code, took = await gateway.end()
        ok("SIGTERM: exit 0 within 5 s", code == 0 and took < 5, f"code {code}, {took:.1f} s")
    finally:
        gateway.cleanup()
        if recorder:
            recorder.close()
        await net.stop()
        await broker.stop()


async def drained(recorder, seconds):
    """Waits until no history came for two seconds."""
    deadline = time.monotonic() + seconds
    seen, last = len(recorder.came), time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - last < 2:
        await asyncio.sleep(0.25)
        new, seen = recorder.came[seen:], len(recorder.came)
        if any(m.is_historical for _, _, payload in new for m in Protobuf.FromString(payload).metrics):
            last = time.monotonic()


def judge(points, units, stopped, back, last):
    """What must have arrived, and how."""
    by_tag = defaultdict(list)
    for point in points:
        by_tag[point[1]].append(point)
    lost, wrong_order, unmarked, expected, twice = 0, [], [], 0, 0
    for path, of in by_tag.items():
        unit = units[0] if path.startswith("alarm/") else units[1]
        served = {count + 1: at for count, at in enumerate(unit.served) if at < last}
        have = {p[2] for p in of}
        expected += len(served)
        lost += sum(1 for count in served if count not in have)
        data = [p for p in of if not p[5]]
        twice += len(data) - len({p[2] for p in data})
        for historical in (False, True):
            line = [p[2] for p in data if p[4] == historical]
            if any(b < a for a, b in zip(line, line[1:])):
                wrong_order.append((path, historical))
        flagged = {p[2] for p in data if p[4]}
        # The last one before the birth is told by the birth itself.
        missed = sorted(c for c, at in served.items() if stopped + 1 < at < back and c not in flagged)
        unmarked += missed[:-1]
    equal("all tags arrive", len(by_tag), TAGS + 1)
    ok(f"0 of {expected} samples are lost", lost == 0, f"{lost} lost")
    print(f"     {twice} came twice")
    equal("what was read meanwhile is flagged historical", unmarked[:3], [])
    equal("live values and history of each tag come in order", wrong_order[:3], [])
    history = [p for p in points if p[4] and p[0] > back]
    first = next((i for i, p in enumerate(history) if p[1].startswith("values/")), len(history))
    alarms = [i for i, p in enumerate(history) if p[1] == "alarm/count" and p[3] < back]
    ok("the alarms of the outage come before its values", alarms and max(alarms) < first, (max(alarms, default=-1), first))
    born = min((p[0] for p in points if p[5] and p[0] > back), default=back)
    done = max((p[0] for p in history), default=back)
    drain = done - born
    lags = [p[0] - p[3] for p in points if not p[4] and not p[5] and born < p[3] and p[0] <= done]
    print(f"     drained {len(history)} samples in {drain:.1f} s ({len(history) / max(drain, 0.1):.0f}/s), "
          f"{born - back:.1f} s after the broker was back; live lag in that time at most {max(lags, default=0):.2f} s")
    if STRICT:
        ok("drained in 60 s", drain <= 60, f"{drain:.1f} s")
        ok("live values lag at most 2 s meanwhile", max(lags, default=0) <= 2, f"{max(lags, default=0):.2f} s")
