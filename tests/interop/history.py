"""History: asyncua reads back thousands of values in small pages, both ways and summed up, also after a restart."""

import json
from datetime import datetime, timedelta, timezone

from asyncua import ua

import ua as client_side
from check import equal, ok, section, until
from field import TcpPeer, Unit
from gateway import Gateway
from plant import free_port, head, tcp

PATH = "net-count/count"
WANTED = 2000


def config(folder, net, opcua, http):
    """One counter, read a hundred times a second; no publisher keeps anything."""
    return f"""\
{head("gateway-3", net="10ms")}
[system]
enabled = false

[store]
path = "{folder}/store"
spill-after = "1s"

[store.history]
keep = "1d"
max-bytes = "64MiB"

[publish.opcua]
listen = "127.0.0.1:{opcua}"
security = ["none"]
anonymous = true

[publish.http]
listen = "127.0.0.1:{http}"

{tcp("net", net.port)}
[[device]]
name = "net-count"
link = "net"
unit = 2
scan = "net"
[device.tag]
count = {{ at = "input:0", type = "u32" }}
"""


async def run(folder):
    """Some forty seconds."""
    section("9 history")
    folder.mkdir(parents=True)
    net = TcpPeer(free_port(), [Unit(2, counter=True)])
    opcua, http = free_port(), free_port()
    gateway = Gateway(folder, config(folder, net, opcua, http), http)
    try:
        await net.start()
        await story(gateway, net.units[2], f"opc.tcp://127.0.0.1:{opcua}/")
    finally:
        gateway.cleanup()
        await net.stop()


async def connect(url):
    """A client that found the counter."""
    return await (await client_side.plain(url)).find({"net-count"})


async def story(gateway, unit, url):
    """A first run, a restart, then all of both is read."""
    async def up():
        return (await gateway.get("/healthz"))[0] == 200

    gateway.start()
    ok("history: enough is served", await until(lambda: len(unit.served) >= WANTED, 90), gateway.tail())
    code, _ = await gateway.end()
    equal("history: a clean stop", code, 0)
    before = unit.count
    gateway.start()
    await until(up, 30)
    ok("history: more after the restart", await until(lambda: unit.count >= before + 500, 60), gateway.tail())
    reader = await connect(url)
    node = reader.nodes[PATH]
    try:
        level = (await node.read_attribute(ua.AttributeIds.AccessLevel)).Value.Value
        ok("history: the variable says that it has history", level & 4, level)
        equal("history: Historizing", (await node.read_attribute(ua.AttributeIds.Historizing)).Value.Value, True)
        end = datetime.now(timezone.utc)
        start = end - timedelta(hours=1)
        values = await raw(reader, start, end, 100, "forward")
        served = [value for value, at in unit.served if at < end.timestamp() - 0.5]
        numbers = [v.Value.Value for v in values]
        equal("history: every value once, in order, over the restart", numbers[:len(served)], served)
        times = [v.SourceTimestamp for v in values]
        ok("history: the times never go back", times == sorted(times))
        backward = await raw(reader, end, start, 333, "backward")
        equal("history: the same backward", [v.Value.Value for v in backward], numbers[::-1])
        whole = await node.read_raw_history(start, end, 0, return_bounds=False)
        equal("history: the same as asyncua's own loop reads it", [v.Value.Value for v in whole], numbers)
        last = await node.read_raw_history(None, end, 10, return_bounds=False)
        equal("history: the last ten", [v.Value.Value for v in last], numbers[:-11:-1])
        await processed(reader, values)
        await page(gateway, numbers, end)
    finally:
        await reader.client.disconnect()
    code, took = await gateway.end()
    ok("history: exit 0 within 5 s", code == 0 and took < 5, f"code {code}, {took:.1f} s")


async def ask(reader, details, point=None):
    """One HistoryRead of the counter."""
    node = ua.HistoryReadValueId()
    node.NodeId = reader.nodes[PATH].nodeid
    node.ContinuationPoint = point
    parameters = ua.HistoryReadParameters()
    parameters.HistoryReadDetails = details
    parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
    parameters.ReleaseContinuationPoints = False
    parameters.NodesToRead.append(node)
    return (await reader.client.uaclient.history_read(parameters))[0]


async def raw(reader, start, end, most, title):
    """All pages."""
    details = ua.ReadRawModifiedDetails()
    details.IsReadModified = False
    details.StartTime, details.EndTime, details.NumValuesPerNode, details.ReturnBounds = start, end, most, False
    values, point, sizes = [], None, []
    while True:
        result = await ask(reader, details, point)
        result.StatusCode.check()
        values += result.HistoryData.DataValues
        sizes.append(len(result.HistoryData.DataValues))
        point = result.ContinuationPoint
        if not point:
            break
    full = all(size == most for size in sizes[:-1])
    ok(f"history: pages of {most} {title}", full and len(sizes) > WANTED // most, sizes)
    return values


async def processed(reader, values):
    """Seconds, worked out here from the raw values."""
    ids = ua.ObjectIds
    first = values[0].SourceTimestamp.replace(microsecond=0) + timedelta(seconds=1)
    seconds = 10
    for name, work in (("Average", lambda v: sum(v) / len(v)), ("Minimum", min), ("Maximum", max), ("Count", len)):
        details = ua.ReadProcessedDetails()
        details.StartTime, details.EndTime = first, first + timedelta(seconds=seconds)
        details.ProcessingInterval = 1000.0
        details.AggregateType = [ua.NodeId(getattr(ids, f"AggregateFunction_{name}"))]
        details.AggregateConfiguration.UseServerCapabilitiesDefaults = True
        result = await ask(reader, details)
        result.StatusCode.check()
        got = [v.Value.Value for v in result.HistoryData.DataValues]
        want = []
        for second in range(seconds):
            begin = first + timedelta(seconds=second)
            within = [v.Value.Value for v in values if begin <= v.SourceTimestamp < begin + timedelta(seconds=1)]
            want.append(work(within))
        equal(f"history: {name} of each second", got, want)


async def page(gateway, numbers, end):
    """The same by HTTP, page by page."""
    found, cursor = [], ""
    to = int(end.timestamp() * 1_000_000)
    while True:
        status, body = await gateway.get(f"/api/v1/history?tag={PATH}&to={to}&limit=700{cursor}")
        if not ok("history: a page by HTTP", status == 200, body):
            return
        answer = json.loads(body)
        found += [sample["value"] for sample in answer["samples"]]
        if answer["next"] is None:
            break
        cursor = f"&cursor={answer['next']}"
    equal("history: the same by HTTP", found, numbers)
