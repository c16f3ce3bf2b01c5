"""The plant of the main part: which units hang where, and the gateway's configuration for it."""

import random
import socket

import fixture
from field import Cable, RtuPeer, TcpPeer, Unit

GROUP, NODE = "interop", "gateway-1"
PASSWORD = "correct horse"
PERIOD, TIMEOUT = 0.25, 0.3  # of scan class and links below

# What the north may write: name, keys, Sparkplug type, OPC UA type.
WRITABLE = {
    "run": ('at = "coil:0", type = "bool"', "BOOLEAN", "Boolean"),
    "speed": ('at = "holding:0", type = "u16", low = 0.0, high = 100.0', "UINT16", "UInt16"),
    "setpoint": ('at = "holding:2", type = "f32", order = "cdab"', "FLOAT", "Float"),
    "total": ('at = "holding:4", type = "i64", order = "dcba"', "INT64", "Int64"),
    "label": ('at = "holding:8", type = "string", length = 8', "STRING", "String"),
    "level": ('at = "holding:12", type = "i16", scale = 0.1, offset = -40.0', "DOUBLE", "Double"),
    "exact": ('at = "holding:14", type = "f64", order = "badc"', "DOUBLE", "Double"),
}


def head(name, group=GROUP, **scan):
    """The node, and its scan classes with their periods."""
    classes = "\n".join(f'{key} = "{period}"' for key, period in scan.items())
    return f'[node]\ngroup = "{group}"\nname = "{name}"\n\n[scan]\n{classes}\n'


def tcp(name, port, timeout="2s", host="127.0.0.1"):
    """A link over Modbus TCP."""
    return f'[[link.modbus-tcp]]\nname = "{name}"\nhost = "{host}"\nport = {port}\ntimeout = "{timeout}"\n'


def rtu(name, port, timeout="2s", table="modbus-rtu"):
    """A link over a serial port."""
    return f'[[link.{table}]]\nname = "{name}"\nport = "{port}"\nbaud = 115200\nparity = "none"\ntimeout = "{timeout}"\n'


_given = set()


def free_port():
    """A port that nobody listens on now, and that no outgoing connection is given before it is listened on."""
    while True:
        with socket.socket() as probe:
            # Below the range from which Linux takes the ports of outgoing connections (32768 to 60999).
            port = random.randrange(15000, 32000)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            if port not in _given:
                _given.add(port)
                return port


class Plant:
    """Four buses; two of them are not there at the start."""

    def __init__(self, folder):
        self.table = fixture.build()
        self.mqtt, self.opcua, self.http = free_port(), free_port(), free_port()
        self.cable, self.late_cable = Cable(folder, "bus"), Cable(folder, "late-bus")
        self.net = TcpPeer(free_port(), self._units())
        self.bus = RtuPeer(self.cable, self._units())
        self.late_net = TcpPeer(free_port(), [Unit(1, {"holding": [4711]})])
        self.late_bus = RtuPeer(self.late_cable, [Unit(1, {"holding": [4712]})])

    def _units(self):
        writer = {"holding": [0] * 20 + [77], "coil": [False] * 4}
        return [Unit(1, fixture.memory(self.table, "a")), Unit(2, counter=True),
                Unit(3, {"holding": [1234]}), Unit(4, writer)]

    async def start(self):
        """What is there at the start."""
        await self.cable.plug()
        await self.net.start()
        await self.bus.start()

    async def stop(self):
        """All of it."""
        for peer in (self.net, self.bus, self.late_net, self.late_bus):
            await peer.stop()
        for cable in (self.cable, self.late_cable):
            await cable.unplug()

    def config(self, folder):
        """The gateway's configuration file."""
        (folder / "password").write_text(PASSWORD + "\n")
        parts = [f"""\
{head(NODE, fast=f'{int(PERIOD * 1000)}ms')}
[store]
path = "{folder}/store"

[[publish.sparkplug]]
name = "cloud"
broker = "mqtt://127.0.0.1:{self.mqtt}"
client-id = "gateway-under-test"

[publish.opcua]
listen = "127.0.0.1:{self.opcua}"
security = ["none", "basic256sha256"]
anonymous = true

[[publish.opcua.user]]
name = "operator"
password = {{ file = "{folder}/password" }}
role = "operator"

[publish.http]
listen = "127.0.0.1:{self.http}"

{tcp("net", self.net.port, f'{int(TIMEOUT * 1000)}ms')}
{tcp("late-net", self.late_net.port, f'{int(TIMEOUT * 1000)}ms')}
{rtu("bus", self.cable.gateway_end, f'{int(TIMEOUT * 1000)}ms')}
{rtu("late-bus", self.late_cable.gateway_end, f'{int(TIMEOUT * 1000)}ms')}
"""]
        tags = "\n".join(tag.toml() for tag in self.table.tags)
        # Short requests on the bus, long ones on the net; single writes here, multiple ones there.
        parts.append(device("plc", "net", 1, tags + '\nunmapped = { at = "holding:9000", type = "u16" }'))
        parts.append(device("rtu", "bus", 1, tags, "max-registers = 20\nmax-gap = 0"))
        for link, prefix, extra in (("net", "net", ""), ("bus", "bus", 'write = "multiple"')):
            parts.append(device(f"{prefix}-count", link, 2, 'count = { at = "input:0", type = "u32" }'))
            parts.append(device(f"{prefix}-sleeper", link, 3, 'level = { at = "holding:0", type = "u16" }'))
            writable = "\n".join(f'{n} = {{ {k}, access = "read-write" }}' for n, (k, _, _) in WRITABLE.items())
            fixed = '\nfixed = { at = "holding:20", type = "u16" }'
            parts.append(device(f"{prefix}-writer", link, 4, writable + fixed, extra))
        for link in ("late-net", "late-bus"):
            parts.append(device(f"{link}-device", link, 1, 'level = { at = "holding:0", type = "u16" }'))
        return "\n".join(parts)


def device(name, link, unit, tags, extra=""):
    """A `[[device]]` with its tags."""
    return f"""
[[device]]
name = "{name}"
link = "{link}"
unit = {unit}
scan = "fast"
{extra}
[device.tag]
{tags}
"""
