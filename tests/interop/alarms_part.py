"""Alarms: raised by a register of pymodbus, told to asyncua as conditions and to the others as tags, acknowledged."""

import asyncio
import json

import ua as client_side
from asyncua import ua
from broker import Broker
from check import equal, listens, ok, section, until
from field import TcpPeer, Unit
from gateway import Gateway
from host import Host
from plant import PASSWORD, free_port, head

GROUP, NODE = "interop", "gateway-6"
LEVEL = ua.NodeId(9482)  # ExclusiveLevelAlarmType
OFF_NORMAL = ua.NodeId(10637)
ACKNOWLEDGE, REFRESH, CONDITION_TYPE = ua.NodeId(9111), ua.NodeId(3875), ua.NodeId(2782)


def config(folder, net, mqtt, opcua, http):
    """A level with limits and a state that is normal at 1."""
    return f"""\
{head(NODE, fast="100ms")}
[system]
enabled = false

[store]
path = "{folder}/store"

[[publish.sparkplug]]
name = "scada"
broker = "mqtt://127.0.0.1:{mqtt}"

[publish.opcua]
trust = "any"
listen = "127.0.0.1:{opcua}"
security = ["basic256sha256"]
[[publish.opcua.user]]
name = "operator"
password = {{ file = "{folder}/operator" }}
role = "operator"
[[publish.opcua.user]]
name = "viewer"
password = {{ file = "{folder}/operator" }}

[publish.http]
listen = "127.0.0.1:{http}"

[[link.modbus-tcp]]
name = "net"
host = "127.0.0.1"
port = {net.port}

[[device]]
name = "tank"
link = "net"
scan = "fast"
[device.tag]
level = {{ at = "holding:0", type = "u16", unit = "%", deadband = 200, alarm = {{ hihi = 95, hi = 90, lo = 10, hysteresis = 2, priority = "high", message = "Tank" }} }}
drive = {{ at = "holding:1", type = "u16", alarm = {{ normal = 1, access = "read-write" }} }}
"""


class Told:
    """The events that came."""

    def __init__(self):
        self.events = []

    def event_notification(self, event):
        """Called by asyncua."""
        self.events.append(event.get_event_props_as_fields_dict())

    def status_change_notification(self, _status):
        """Called by asyncua; the events tell all that matters here."""

    async def last(self, **wanted):
        """Waits for an event with these fields; `_` stands for `/`."""
        def fits(event):
            return all(event[name.replace("_", "/")].Value == value for name, value in wanted.items())

        await until(lambda: any(fits(e) for e in self.events), 20)
        return next((e for e in reversed(self.events) if fits(e)), None)


async def run(folder):
    """About ten seconds."""
    section("11 alarms")
    folder.mkdir(parents=True)
    (folder / "operator").write_text(PASSWORD)
    unit = Unit(1, {"holding": [50, 1]})
    net = TcpPeer(free_port(), [unit])
    broker = Broker(folder / "broker", free_port())
    opcua, http = free_port(), free_port()
    gateway = Gateway(folder, config(folder, net, broker.port, opcua, http), http)
    host = None
    clients = []
    try:
        await broker.start()
        await net.start()
        host = Host(broker.port, GROUP, NODE)
        client_side.make_certificate(folder)
        gateway.start()
        ok("the device is born", await until(lambda: host.is_alive("tank"), 60), gateway.tail())
        url = f"opc.tcp://127.0.0.1:{opcua}/"
        await until(lambda: listens(opcua), 60)
        for user in ("operator", "viewer"):
            clients.append((await client_side.secure(url, folder, user, PASSWORD)).client)
        await story(gateway, unit, host, *clients)
        await again(gateway, unit, url, folder, clients)
    finally:
        for client in clients:
            try:
                await asyncio.wait_for(client.disconnect(), 5)
            except Exception:  # it may be gone already
                pass
        gateway.cleanup()
        if host:
            host.close()
        await net.stop()
        await broker.stop()


async def watch(client, node=None):
    """Subscribes to the events of the server or of a node. The library compares no node ids, so no where clause."""
    told = Told()
    subscription = await client.create_subscription(100, told)
    types = [client.get_node(kind) for kind in (LEVEL, OFF_NORMAL)]
    await subscription.subscribe_events(node or client.nodes.server, types, queuesize=1000,
                                        where_clause_generation=False)
    return told, subscription


async def acknowledge(client, event, comment):
    """Calls the method of the type on the condition; gives the name of the status."""
    condition = client.get_node(event["NodeId"].Value if "NodeId" in event else event["ConditionId"].Value)
    try:
        await condition.call_method(ACKNOWLEDGE, ua.Variant(event["EventId"].Value, ua.VariantType.ByteString),
                                    ua.LocalizedText(comment, "en"))
        return "Good"
    except ua.UaStatusCodeError as error:
        return ua.StatusCode(error.code).name


async def story(gateway, unit, host, operator, viewer):
    """Raised, acknowledged, over."""
    told, subscription = await watch(operator)
    space = await operator.get_namespace_index(f"urn:fieldgate:{GROUP}:{NODE}")
    device = operator.get_node(ua.NodeId("tank", space))
    own, _ = await watch(viewer, viewer.get_node(ua.NodeId("tank", space)))
    ok("the device says that it has events",
       ua.EventNotifier.SubscribeToEvents in await device.read_event_notifier())
    unit.load({"holding": [92, 1]})
    raised = await told.last(ActiveState_Id=True)
    if not ok("an alarm is told when the register is beyond its limit", raised, gateway.tail()):
        return
    fields = {name: raised[name].Value for name in (
        "EventType", "SourceName", "Severity", "ConditionName", "Retain", "EnabledState/Id", "AckedState/Id",
        "HighLimit", "SuppressedOrShelved", "InputNode")}
    equal("its fields are those of the file", fields, {
        "EventType": LEVEL, "SourceName": "tank/level", "Severity": 700, "ConditionName": "level", "Retain": True,
        "EnabledState/Id": True, "AckedState/Id": False, "HighLimit": 90.0, "SuppressedOrShelved": False,
        "InputNode": ua.NodeId("tank/level", space)})
    equal("its message has value and unit", raised["Message"].Value.Text, "Tank: hi (92 %)")
    equal("its limit state", raised["LimitState/CurrentState"].Value.Text, "High")
    ok("the device tells it, too", await own.last(ActiveState_Id=True))
    equal("who may only read may not acknowledge", await acknowledge(viewer, raised, "no"), "BadUserAccessDenied")
    equal("the operator acknowledges", await acknowledge(operator, raised, "on my way"), "Good")
    acked = await told.last(AckedState_Id=True)
    ok("that is told with who and what", acked and acked["Comment"].Value.Text == "on my way"
       and acked["ClientUserId"].Value == "operator", acked)
    # 92 is within the deadband of 200: only the alarm knows of it.
    ok("Sparkplug has the alarm as tags",
       await until(lambda: [getattr(host.last(f"tank/level/{t}"), "value", None) for t in
                            ("alarm", "alarm-active", "alarm-acked")] == ["hi", True, True], 10),
       [host.last(f"tank/level/{t}") for t in ("alarm", "alarm-active", "alarm-acked")])
    code, body = await gateway.get("/api/v1/tags/tank/level/alarm")
    equal("so has the page", (code, json.loads(body).get("value")), (200, "hi"))

    late = Told()
    refreshed = await operator.create_subscription(100, late)
    types = [operator.get_node(LEVEL)]
    await refreshed.subscribe_events(operator.nodes.server, types, queuesize=1000, where_clause_generation=False)
    await operator.get_node(CONDITION_TYPE).call_method(
        REFRESH, ua.Variant(refreshed.subscription_id, ua.VariantType.UInt32))
    ok("who comes late asks for what is so", await late.last(SourceName="tank/level"),
       [e["SourceName"].Value for e in late.events])
    await until(lambda: len(late.events) > 2, 5)
    equal("a refresh is between two marks",
          [e["EventType"].Value.Identifier for e in late.events], [2787, 9482, 2788])

    unit.load({"holding": [87, 1]})
    over = await told.last(ActiveState_Id=False)
    ok("it is over when the value is back by the hysteresis", over and over["Retain"].Value is False, over)

    unit.load({"holding": [50, 7]})
    fault = await told.last(SourceName="tank/drive")
    ok("a state that is not normal is an alarm", fault and fault["EventType"].Value == OFF_NORMAL, fault)
    host.command("tank", "drive/alarm-acked", "BOOLEAN", True)
    ok("it is acknowledged by Sparkplug where the file allows it",
       await told.last(SourceName="tank/drive", AckedState_Id=True), gateway.tail())
    host.command("tank", "level/alarm-acked", "BOOLEAN", True)
    ok("and refused where it does not", await until(lambda: "refused" in gateway.tail(200), 10), gateway.tail())


async def again(gateway, unit, url, folder, clients):
    """After a restart the alarm stands as it stood, and is acknowledged."""
    for client in clients:
        await client.disconnect()
    clients.clear()
    code, _ = await gateway.end()
    equal("SIGTERM: exit 0", code, 0)
    gateway.start()

    async def shown(tag):
        code, body = await gateway.get(f"/api/v1/tags/tank/drive/{tag}")
        return json.loads(body).get("value") if code == 200 else None

    async def same():
        return await shown("alarm") == "active" and await shown("alarm-acked") is True

    ok("after a restart the alarm is as it was, and acknowledged", await until(same, 60), gateway.tail())
    unit.load({"holding": [50, 1]})

    async def normal():
        return await shown("alarm") == "normal"

    ok("and over when the state is normal", await until(normal, 20), gateway.tail())
