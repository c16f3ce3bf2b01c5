"""The OPC UA address space as asyncua sees it: discrete types, nameplates, 10,000 items, deadbands, history."""

import asyncio
import time

from asyncua import ua

import ua as client_side
from check import equal, listens, ok, section, until
from field import TcpPeer, Unit
from gateway import Gateway
from plant import free_port, head, tcp

DEVICES, TAGS = 100, 100
DI = "http://opcfoundation.org/UA/DI/"


def config(folder, net, opcua, http):
    """10,000 tags of 100 devices, all the same counter; one device with labels and a range."""
    text = f"""\
{head("gateway-space", net="1s")}
[store]
path = "{folder}/store"

[store.history]
keep = "1d"

[publish.opcua]
listen = "127.0.0.1:{opcua}"
security = ["none"]
anonymous = true

[publish.http]
listen = "127.0.0.1:{http}"

[profile.plate]
manufacturer = "Acme"
model = "P-1"

{tcp("net", net.port, "5s")}
[[device]]
name = "named"
link = "net"
unit = 2
profile = "plate"
# An earlier part may have given all servers of pymodbus a name; here the profile's counts.
identify = false
[device.tag]
run = {{ at = "input:1.0", type = "bool", labels = {{ off = "Stopped", on = "Running" }} }}
state = {{ at = "input:0", type = "u16", labels = {{ 0 = "Idle", 1 = "Running" }} }}
mode = {{ at = "input:0", type = "i16", labels = {{ -1 = "Reverse", 0 = "Off" }} }}
count = {{ at = "input:0", type = "u32", low = 0, high = 100000, description = "what was counted" }}
"""
    for device in range(DEVICES):
        text += f'\n[[device]]\nname = "d{device}"\nlink = "net"\nunit = 2\n[device.tag]\n'
        text += "".join(f't{n} = {{ at = "input:0", type = "u32" }}\n' for n in range(TAGS))
    return text


async def run(folder):
    """Some thirty seconds."""
    section("10 the address space")
    folder.mkdir(parents=True)
    net = TcpPeer(free_port(), [Unit(2, counter=True)])
    opcua, http = free_port(), free_port()
    gateway = Gateway(folder, config(folder, net, opcua, http), http)
    try:
        await net.start()
        gateway.start()
        # Its key is made at the first start.
        ok("space: the OPC UA server listens", await until(lambda: listens(opcua), 90), gateway.tail())
        reader = await client_side.plain(f"opc.tcp://127.0.0.1:{opcua}/")
        try:
            await types(reader)
            await every_attribute(reader)
            await items(reader)
            await deadbands(reader)
            await history(reader)
        finally:
            await reader.client.disconnect()
    finally:
        gateway.cleanup()
        await net.stop()


async def node(reader, path):
    """The node of a tag or property."""
    index = await reader.client.get_namespace_index("urn:fieldgate:interop:gateway-space")
    return reader.client.get_node(ua.NodeId(path, index))


async def types(reader):
    """Types and properties, by browsing from the variable."""
    for path, kind, properties in [
        ("named/run", ua.ObjectIds.TwoStateDiscreteType, ["FalseState", "TrueState"]),
        ("named/state", ua.ObjectIds.MultiStateDiscreteType, ["EnumStrings"]),
        ("named/mode", ua.ObjectIds.MultiStateValueDiscreteType, ["EnumValues", "ValueAsText"]),
        ("named/count", ua.ObjectIds.AnalogItemType, ["EURange"]),
    ]:
        variable = await node(reader, path)
        equal(f"space: the type of {path}", (await variable.read_type_definition()).Identifier, kind)
        names = sorted([(await p.read_browse_name()).Name for p in await variable.get_properties()])
        equal(f"space: the properties of {path}", names, properties)
    strings = await (await node(reader, "named/state#EnumStrings")).read_value()
    equal("space: EnumStrings", [text.Text for text in strings], ["Idle", "Running"])
    values = await (await node(reader, "named/mode#EnumValues")).read_value()
    equal("space: EnumValues", [(v.Value, v.DisplayName.Text) for v in values], [(-1, "Reverse"), (0, "Off")])
    di = await reader.client.get_namespace_index(DI)
    plate = await (await node(reader, "named")).get_child([f"{di}:Manufacturer"])
    equal("space: the nameplate by its browse name", (await plate.read_value()).Text, "Acme")
    own = await (await node(reader, "/interop/gateway-space")).get_child([f"{di}:SoftwareRevision"])
    ok("space: the gateway's own nameplate", await own.read_value())


async def every_attribute(reader):
    """Browses all below Objects but the server's own object, and reads every attribute of a sample."""
    began, seen, waiting = time.monotonic(), [], [reader.client.nodes.objects]
    while waiting:
        batch, waiting = waiting[:500], waiting[500:]
        # asyncua's browse_nodes names a view of now, and the server has no views.
        wanted = ua.BrowseParameters()
        wanted.View.Timestamp = ua.get_win_epoch()
        wanted.NodesToBrowse = [ua.BrowseDescription(
            NodeId=n.nodeid, BrowseDirection=ua.BrowseDirection.Forward, IncludeSubtypes=True,
            ReferenceTypeId=ua.NodeId(ua.ObjectIds.HierarchicalReferences), ResultMask=63) for n in batch]
        for result in await reader.client.uaclient.browse(wanted):
            for reference in result.References:
                if reference.IsForward and reference.NodeId.NamespaceIndex != 0:
                    found = reader.client.get_node(reference.NodeId)
                    if reference.NodeClass in (ua.NodeClass.Object, ua.NodeClass.Variable) \
                            and reference.ReferenceTypeId.Identifier in (35, 46, 47):
                        seen.append((found, reference.NodeClass))
                        waiting.append(found)
    variables = [n for n, kind in seen if kind == ua.NodeClass.Variable]
    ok("space: the whole space is browsed", len(variables) >= DEVICES * TAGS,
       f"{len(variables)} variables in {time.monotonic() - began:.1f} s")
    wanted = [ua.AttributeIds.NodeClass, ua.AttributeIds.BrowseName, ua.AttributeIds.DisplayName,
              ua.AttributeIds.Description, ua.AttributeIds.WriteMask, ua.AttributeIds.UserWriteMask,
              ua.AttributeIds.DataType, ua.AttributeIds.ValueRank, ua.AttributeIds.AccessLevel,
              ua.AttributeIds.UserAccessLevel, ua.AttributeIds.MinimumSamplingInterval, ua.AttributeIds.Historizing]
    wrong = []
    for attribute in wanted:
        for start in range(0, len(variables), 5000):
            part = variables[start:start + 5000]
            values = await reader.client.uaclient.read_attributes([n.nodeid for n in part], attribute)
            # Not every variable has a description or masks; what is not there says so.
            may_lack = {ua.StatusCodes.BadAttributeIdInvalid}
            wrong += [(n, attribute.name, v.StatusCode) for n, v in zip(part, values)
                      if not v.StatusCode.is_good() and v.StatusCode.value not in may_lack]
    equal("space: every attribute of every variable is read", wrong[:5], [])


class Counting:
    """Counts what each item was told."""

    def __init__(self):
        self.first, self.values = {}, {}

    def datachange_notification(self, node, value, data):
        """Called by asyncua."""
        self.values.setdefault(node.nodeid, []).append((value, data.monitored_item.Value))

    def status_change_notification(self, status):
        """Called by asyncua."""


async def items(reader):
    """One subscription with 10,000 items."""
    told = Counting()
    index = await reader.client.get_namespace_index("urn:fieldgate:interop:gateway-space")
    nodes = [reader.client.get_node(ua.NodeId(f"d{d}/t{n}", index)) for d in range(DEVICES) for n in range(TAGS)]
    began = time.monotonic()
    subscription = await reader.client.create_subscription(500, told)
    for start in range(0, len(nodes), 2000):
        await subscription.subscribe_data_change(nodes[start:start + 2000], queuesize=10)
    took = time.monotonic() - began
    ok("space: 10,000 items in one subscription are made in 60 s", took < 60, f"{took:.1f} s")

    def all_good():
        return len(told.values) == len(nodes) and all(
            sum(1 for _, v in values if v.StatusCode.is_good()) >= 2 for values in told.values.values())

    ok("space: each of them is told its first value and a change", await until(all_good, 90),
       f"{len(told.values)} items told")
    twice = [n for n, values in told.values.items()
             if len({v for v, d in values if d.StatusCode.is_good()}) != sum(d.StatusCode.is_good() for _, d in values)]
    equal("space: no value is told twice", twice[:5], [])
    await subscription.delete()


async def deadbands(reader):
    """Absolute, percent of EURange, and percent where there is none."""
    count, plain = await node(reader, "named/count"), await node(reader, "d0/t0")
    told = Counting()
    subscription = await reader.client.create_subscription(100, told)

    async def status(variable, kind, value):
        trigger = ua.DataChangeTrigger.StatusValue
        item = await subscription.deadband_monitor(variable, value, kind, queuesize=50)
        del trigger
        return item

    handle = await status(count, ua.DeadbandType.Percent, 0.003)
    ok("space: a percent deadband on a variable with EURange", isinstance(handle, int), handle)
    try:
        refused = await status(plain, ua.DeadbandType.Percent, 10)
        refused = refused.name if isinstance(refused, ua.StatusCode) else refused
    except ua.UaStatusCodeError as error:
        refused = ua.StatusCode(error.code).name
    equal("space: a percent deadband without EURange", refused, "BadDeadbandFilterInvalid")
    await asyncio.sleep(6)
    values = [v for v, d in told.values.get(count.nodeid, []) if d.StatusCode.is_good()]
    ok("space: changes of 3 and less of 100,000 are not told", len(values) >= 2
       and all(b - a > 3 for a, b in zip(values, values[1:])), values)
    await subscription.delete()


async def history(reader):
    """What the server says of its history, and asyncua's own loop with continuation points."""
    capabilities = reader.client.get_node(ua.ObjectIds.HistoryServerCapabilities)
    data = await capabilities.get_child(["0:AccessHistoryDataCapability"])
    equal("space: AccessHistoryDataCapability", await data.read_value(), True)
    functions = await (await capabilities.get_child(["0:AggregateFunctions"])).get_children()
    names = sorted([(await f.read_browse_name()).Name for f in functions])
    equal("space: AggregateFunctions", names, ["Average", "Count", "Maximum", "Minimum"])
