"""Part `arrays`: arrays from a device of pymodbus to asyncua and to pysparkplug, and writes back from both."""

import struct
import time

import peer_pymodbus as peer
import pysparkplug as sp
import ua
from broker import Broker
from check import equal, ok, section, until
from gateway import Gateway
from host import Host
from plant import free_port, head, tcp

GROUP, NODE = "interop", "arrays"
FLOATS = [0.5 * at - 1.25 for at in range(8)]
BITS = [at % 3 == 0 for at in range(12)]


def config(folder, mqtt, opcua, modbus):
    """One device with arrays at both norths."""
    return f"""\
{head(NODE, fast="100ms")}
[store]
path = "{folder}/store"

[[publish.sparkplug]]
name = "cloud"
broker = "mqtt://127.0.0.1:{mqtt}"

[publish.opcua]
listen = "127.0.0.1:{opcua}"
security = ["none"]
anonymous = true

{tcp("net", modbus)}
[[device]]
name = "plc"
link = "net"
unit = 1
scan = "fast"
order = "cdab"
[device.tag]
floats = {{ at = "holding:100", type = "f32[8]", access = "read-write" }}
words = {{ at = "input:7", type = "i16[3]" }}
bits = {{ at = "discrete:5", type = "bool[12]" }}
"""


def words(floats):
    """Registers of single floats, the low word first."""
    return [word for value in floats for word in reversed(struct.unpack(">2H", struct.pack(">f", value)))]


async def run(folder):
    """All of it, with one gateway."""
    section("arrays: from pymodbus to asyncua and pysparkplug, and back")
    folder.mkdir(parents=True)
    broker = Broker(folder / "broker", free_port())
    modbus, opcua = free_port(), free_port()
    server = peer.tcp_server(modbus)
    gateway = Gateway(folder, config(folder, broker.port, opcua, modbus))
    host = reader = None
    try:
        await broker.start()
        await server.start()
        await server.load({"holding": [0] * 100 + words(FLOATS), "input": [0] * 7 + [1, 65535, 32768],
                           "discrete": [False] * 5 + BITS})
        host = Host(broker.port, GROUP, NODE, "arrays-host")
        gateway.start()
        ok("the device is born", await until(lambda: host.is_alive("plc") or not gateway.is_running(), 30), gateway.tail())
        sparkplug(host)
        reader = await connected(f"opc.tcp://127.0.0.1:{opcua}/")
        await opc_ua(reader)
        await writes(host, server)
    finally:
        if reader:
            await reader.client.disconnect()
        gateway.cleanup()
        if host:
            host.close()
        await server.stop()
        await broker.stop()


async def connected(url):
    """A client of a server that may still have to make its key."""
    found = []

    async def there():
        try:
            found.append(await ua.plain(url))
        except (OSError, TimeoutError):
            return False
        return True

    await until(there, 60)
    return await found[0].find({"plc"})


def sparkplug(host):
    """What pysparkplug makes of the birth."""
    seen = {path: host.last(f"plc/{path}") for path in ("floats", "words", "bits")}
    shown = {path: (point.type, list(point.value)) if point else None for path, point in seen.items()}
    equal("Sparkplug: 8 floats", shown["floats"], ("FLOAT_ARRAY", FLOATS))
    equal("Sparkplug: 3 signed words", shown["words"], ("INT16_ARRAY", [1, -1, -32768]))
    equal("Sparkplug: 12 bits", shown["bits"], ("BOOLEAN_ARRAY", BITS))


async def opc_ua(reader):
    """Value, rank and length, as asyncua reads them."""
    for path, want, kind in (("floats", FLOATS, "Float"), ("words", [1, -1, -32768], "Int16"), ("bits", BITS, "Boolean")):
        node = reader.nodes[f"plc/{path}"]
        data = await reader.read(f"plc/{path}")
        equal(f"OPC UA: {path}", (data.Value.VariantType.name, data.Value.Value), (kind, want))
        equal(f"OPC UA: {path}: rank and length", (await node.read_value_rank(), await node.read_array_dimensions()), (1, [len(want)]))


async def writes(host, server):
    """A DCMD that pysparkplug makes, of the right length and of a wrong one."""
    async def ask(values):
        metric = sp.Metric(timestamp=int(time.time() * 1000), name="floats", datatype=sp.DataType.FLOAT_ARRAY, value=values)
        payload = sp.DCmd(timestamp=int(time.time() * 1000), metrics=(metric,))
        host.client.publish(f"spBv1.0/{GROUP}/DCMD/{NODE}/plc", payload.encode(), 0).wait_for_publish(5)

    await ask([9.0] * 7)
    new = [-value for value in FLOATS]
    await ask(new)
    ok("a DCMD of 8 floats comes home", await until(lambda: list(host.last("plc/floats").value) == new, 20), host.last("plc/floats"))
    equal("pymodbus has them", await server.words("holding", 100, 16), words(new))
    strange = [point for point in host.values("plc/floats") if list(point.value) not in (FLOATS, new)]
    equal("a DCMD of 7 floats was refused as a whole", strange, [])
