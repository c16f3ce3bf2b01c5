"""Part `node`: node-opcua as client: all nodes and attributes, who may come in, values, writes, ten thousand items,
alarms, history, a session over a connection that the server dials; and its discovery server, at which the gateway registers."""

from datetime import datetime, timedelta, timezone

import ua as client_side
from check import equal, listens, ok, section, until
from field import TcpPeer, Unit
from gateway import Gateway
from node_client import NodeClient
from plant import PASSWORD, free_port, head, tcp

NAMESPACE = 2
MANY = 10_000
POLICIES = {"basic256sha256": "Basic256Sha256", "aes256": "Aes256_Sha256_RsaPss"}


def config(folder, plc, many, opcua, http, dialled, lds):
    """Two devices: one with a tag of each kind, one with ten thousand."""
    tags = "\n".join(f'r{at} = {{ at = "holding:{at}", type = "u16" }}' for at in range(MANY))
    (folder / "password").write_text(PASSWORD + "\n")
    return f"""\
{head("node", fast="100ms", slow="1s")}
[store]
path = "{folder}/store"

[store.history]
keep = "1d"
max-bytes = "64MiB"

[publish.opcua]
trust = "any"
listen = "127.0.0.1:{opcua}"
security = ["none", "basic256sha256", "aes256"]
anonymous = true
reverse-connect = ["opc.tcp://127.0.0.1:{dialled}"]
register-at = "opc.tcp://127.0.0.1:{lds}"

[[publish.opcua.user]]
name = "operator"
password = {{ file = "{folder}/password" }}
role = "operator"

[[publish.opcua.user]]
name = "observer"
password = {{ file = "{folder}/password" }}

[publish.http]
listen = "127.0.0.1:{http}"

{tcp("net", plc)}
{tcp("many", many)}
[[device]]
name = "plc"
link = "net"
unit = 1
scan = "fast"
[device.tag]
run = {{ at = "coil:0", type = "bool", access = "read-write" }}
speed = {{ at = "holding:0", type = "u16", low = 0.0, high = 100.0, unit = "%", access = "read-write" }}
level = {{ at = "holding:2", type = "f32", unit = "m" }}
total = {{ at = "holding:4", type = "i64", access = "read-write" }}
label = {{ at = "holding:8", type = "string", length = 8, access = "read-write" }}
pair = {{ at = "holding:12", type = "i16[2]" }}
heat = {{ at = "holding:14", type = "u16", alarm = {{ hi = 90, hysteresis = 2, message = "Heat" }} }}
hidden = {{ at = "holding:20", type = "u16", access = "write-only" }}
refused = {{ at = "holding:9999", type = "u16", access = "write-only" }}

[[device]]
name = "many"
link = "many"
unit = 1
scan = "slow"
[device.tag]
{tags}
"""


def node(path):
    """The node id of a tag, as node-opcua writes it."""
    return f"ns={NAMESPACE};s={path}"


async def run(folder):
    """All of it, with one gateway."""
    section("node-opcua")
    folder.mkdir(parents=True)
    memory = {"holding": [50, 0, 0x40A0, 0, 0, 0, 0, 7, 0x4142, 0, 0, 0, 0xFFFF, 2] + [0] * 20, "coil": [True, False]}
    plc, many = TcpPeer(free_port(), [Unit(1, memory)]), TcpPeer(free_port(), [Unit(1, {"holding": [0] * MANY})])
    opcua, http, dialled, lds = (free_port() for _ in range(4))
    gateway = Gateway(folder, config(folder, plc.port, many.port, opcua, http, dialled, lds), http)
    client = NodeClient(folder)
    try:
        await plc.start()
        await many.start()
        client_side.make_certificate(folder)
        await client.start()
        answer = await client.ask("discovery", 120, port=lds, pki=str(folder / "lds-pki"))
        ok("node: there is a discovery server", answer == {}, answer)
        gateway.start()
        ok("node: the server listens", await until(lambda: listens(opcua), 60), gateway.tail())
        url = f"opc.tcp://127.0.0.1:{opcua}/"
        await who(client, url)
        answer = await client.connect(url, "operator", PASSWORD, "Basic256Sha256")
        if ok("node: the operator is in", "error" not in answer, answer):
            await born(client)
            await space(client)
            await values(client)
            await writes(client, plc.units[1])
            await flood(client, many.units[1])
            await history(client)
            await alarms(client, plc.units[1])
        await client.ask("close")
        await reverse(client, url, dialled)
        await registered(client, url, f"opc.tcp://127.0.0.1:{lds}", gateway)
    finally:
        await client.stop()
        gateway.cleanup()
        await plc.stop()
        await many.stop()


async def who(client, url):
    """Endpoints, policies and tokens, and who is refused with what."""
    found = await client.ask("endpoints", url=url)
    if not ok("node: the endpoints are told", "error" not in found, found):
        return
    told = sorted({(e["policy"], e["mode"]) for e in found["endpoints"]})
    equal("node: the endpoints are those of the configuration", told,
          [("Aes256_Sha256_RsaPss", "SignAndEncrypt"), ("Basic256Sha256", "SignAndEncrypt"), ("None", "None")])
    tokens = {t for e in found["endpoints"] if e["mode"] == "None" for t in e["tokens"]}
    equal("node: without encryption only anonymous is offered", tokens, {"Anonymous"})
    equal("node: the server tells of itself", len(found["servers"]), 1)
    for policy in [None, *POLICIES.values()]:
        user = None if policy is None else "operator"
        answer = await client.connect(url, user, PASSWORD, policy)
        ok(f"node: a session over {policy}", "error" not in answer, answer)
        await client.ask("close")
    refused = []
    for user, password in (("operator", "wrong"), ("nobody", PASSWORD)):
        answer = await client.connect(url, user, password, "Basic256Sha256")
        refused.append(answer.get("error", "connected"))
        await client.ask("close")
    ok("node: an unknown user and a wrong password get the same answer",
       refused[0] == refused[1] and ("Denied" in refused[0] or "Rejected" in refused[0]), refused)


async def born(client):
    """Every tag has a value, or a status that says why not."""
    async def good():
        values = (await client.ask("read", ids=[node("plc/level"), node(f"many/r{MANY - 1}")]))["values"]
        return all(value["status"] == "Good" for value in values)

    ok("node: the devices are read", await until(good, 30))


async def space(client):
    """All that a browser finds below Objects, and every attribute of all of it."""
    found = await client.ask("crawl", 120, **{"from": "i=85"})
    if not ok("node: everything below Objects is browsed", "error" not in found, found):
        return
    nodes = {one["id"]: one for one in found["nodes"]}
    tags = [f"plc/{t}" for t in ("run", "speed", "level", "total", "label", "pair", "heat", "hidden", "refused")]
    tags += [f"many/r{at}" for at in range(MANY)]
    missing = [tag for tag in tags if nodes.get(node(tag), {}).get("class") != "Variable"]
    ok("node: every tag is there, a variable", not missing, missing[:5])
    ids = [one for one in nodes if one.startswith(f"ns={NAMESPACE};")]
    ids = [one for one in ids if not one.startswith(f"ns={NAMESPACE};s=many/r")] + \
        [node(f"many/r{at}") for at in range(0, MANY, 50)] + ["i=2253", "i=85"]
    found = (await client.ask("attributes", 120, ids=ids))["found"]
    allowed = {"Good", "BadAttributeIdInvalid", "BadNotReadable", "BadWaitingForInitialData", "BadNoCommunication",
               "BadDeviceFailure", "BadUserAccessDenied"}
    strange = {name: counts for name, counts in found.items() if set(counts) - allowed}
    ok("node: every attribute of every node is answered", not strange, strange)
    for name in ("NodeId", "NodeClass", "BrowseName", "DisplayName"):
        equal(f"node: all have {name}", found[name], {"Good": len(ids)})
    level = (await client.ask("read", ids=[node("plc/hidden")], attribute="AccessLevel"))["values"][0]
    equal("node: what is only written has the access level of it", level["value"], 2)
    ranges = (await client.ask("read", ids=[node("plc/speed#EURange"), node("plc/level#EngineeringUnits")]))["values"]
    equal("node: EURange", (ranges[0]["value"] or {}).get("high"), 100)
    equal("node: the unit", ((ranges[1]["value"] or {}).get("displayName") or {}).get("text"), "m")


async def values(client):
    """One of each kind."""
    want = {"run": ("Boolean", True), "speed": ("UInt16", 50), "level": ("Float", 5.0), "total": ("Int64", None),
            "label": ("String", "AB"), "pair": ("Int16", [-1, 2])}
    got = (await client.ask("read", ids=[node(f"plc/{name}") for name in want]))["values"]
    for (name, (kind, value)), one in zip(want.items(), got):
        ok(f"node: {name} is a {kind}", one["status"] == "Good" and one["type"] == kind, one)
        if value is not None:
            ok(f"node: the value of {name}", one["value"] == value, one)
    ok("node: all have a source time", all(one["at"] for one in got))


async def writes(client, unit):
    """What is taken reaches the device, and each refusal has its own status."""
    for name, kind, value, want in (
        ("speed", "UInt16", 70, "Good"), ("speed", "UInt16", 101, "BadOutOfRange"),
        ("speed", "Int32", 70, "BadTypeMismatch"), ("speed", "Double", 70.0, "BadTypeMismatch"),
        ("level", "Float", 1.0, "BadNotWritable"), ("run", "Boolean", False, "Good"),
        ("label", "String", "pump", "Good"), ("hidden", "UInt16", 9, "Good"),
        ("refused", "UInt16", 1, "BadDeviceFailure"), ("absent", "UInt16", 1, "BadNodeIdUnknown"),
    ):
        answer = await client.ask("write", id=node(f"plc/{name}"), type=kind, value=value)
        equal(f"node: a write of {value!r} as {kind} to {name}", answer.get("status", answer), want)
    equal("node: the device has what was written", (unit.words("holding", 0, 1), unit.words("holding", 20, 1)), ([70], [9]))
    got = (await client.ask("read", ids=[node("plc/speed"), node("plc/label")]))["values"]
    equal("node: and its read-back is the value", [one["value"] for one in got], [70, "pump"])


async def flood(client, unit):
    """Ten thousand items in one subscription; all registers change three times, and all of it is told."""
    ids = [node(f"many/r{at}") for at in range(MANY)]
    answer = await client.ask("subscribe", 120, ids=ids, interval=100, queue=10)
    equal("node: ten thousand items are taken", answer.get("statuses", answer), {"Good": MANY})
    seen = {}
    for value in range(4):
        if value:
            unit.load({"holding": [value] * MANY})

        async def all_told(value=value):
            for name, samples in (await client.ask("told"))["values"].items():
                seen.setdefault(name, []).extend(samples)
            return len(seen) == MANY and all(samples[-1]["value"] == value for samples in seen.values())

        ok(f"node: all of them tell {value}", await until(all_told, 30),
           (len(seen), sum(samples[-1]["value"] == value for samples in seen.values())))
    wrong = {name: samples for name, samples in seen.items() if [s["value"] for s in samples] != [0, 1, 2, 3]}
    ok("node: each change once and in order", not wrong, list(wrong.items())[:1])
    ok("node: no overflow, all good", all(s["status"] == "Good" and s["bits"] == 0 for one in seen.values() for s in one))


async def history(client):
    """One value a page: continuation points, forward and backward."""
    now = datetime.now(timezone.utc)
    start, end = (now - timedelta(hours=1)).isoformat(), now.isoformat()
    for first, last, want in ((start, end, [50, 70]), (end, start, [70, 50])):
        answer = await client.ask("history", id=node("plc/speed"), start=first, end=last, most=1)
        got = [[value["value"] for value in page] for page in answer.get("pages", []) if page]
        ok(f"node: history page by page from {first}", got == [[value] for value in want], answer)
    answer = await client.ask("history", id=node("plc/hidden"), start=start, end=end, most=1)
    ok("node: what is never read has no history", answer.get("status", "") != "Good" or not answer["pages"][0], answer)


async def alarms(client, unit):
    """A limit alarm is told with its fields, acknowledged, and over; the acknowledgement is told for the audit, too."""
    names = ["EventId", "EventType", "SourceName", "Severity", "Message", "Retain", "ConditionId", "ActiveState.Id",
             "AckedState.Id", "HighLimit", "LimitState.CurrentState", "ClientUserId", "Comment"]
    answer = await client.ask("events", id="i=2253", fields=names)
    equal("node: the events of the server are watched", answer.get("status", answer), "Good")
    seen = []

    async def last(**wanted):
        async def there():
            seen.extend((await client.ask("happened"))["events"])
            return any(fits(event) for event in seen)

        def fits(event):
            return all(event[name.replace("_", ".")] == value for name, value in wanted.items())

        await until(there, 20)
        return next((event for event in reversed(seen) if fits(event)), None)

    words = unit.words("holding", 0, 14)
    unit.load({"holding": [*words, 92]})
    raised = await last(SourceName="plc/heat", ActiveState_Id=True)
    if not ok("node: an alarm is told when the register is beyond its limit", raised, seen):
        return
    fields = {name: raised[name] for name in ("EventType", "Retain", "AckedState.Id", "HighLimit", "LimitState.CurrentState")}
    equal("node: its fields are those of the file", fields, {
        "EventType": "ns=0;i=9482", "Retain": True, "AckedState.Id": False, "HighLimit": 90, "LimitState.CurrentState": "High"})
    answer = await client.ask("call", object=raised["ConditionId"], method="i=9111",
                              args=[["ByteString", raised["EventId"]], ["LocalizedText", "seen"]])
    equal("node: the operator acknowledges", answer.get("status", answer), "Good")
    acked = await last(SourceName="plc/heat", AckedState_Id=True)
    ok("node: that is told with who and what",
       acked and (acked["Comment"], acked["ClientUserId"]) == ("seen", "operator"), acked or seen)
    ok("node: and as an audit event", await last(EventType="ns=0;i=8944", ClientUserId="operator"), seen)
    answer = await client.ask("call", object=raised["ConditionId"], method="i=9111",
                              args=[["ByteString", raised["EventId"]], ["LocalizedText", "again"]])
    ok("node: nobody acknowledges an event that is past", answer.get("status", "Good").startswith("Bad"), answer)
    unit.load({"holding": [*words, 10]})
    over = await last(SourceName="plc/heat", ActiveState_Id=False, AckedState_Id=True)
    ok("node: it is over, and needs nobody any more", over and over["Retain"] is False, over or seen)


async def reverse(client, url, port):
    """A session over a connection that the server dials, signed and encrypted."""
    uri = (await client.ask("endpoints", url=url))["servers"][0]["uri"]
    answer = await client.connect(url, "operator", PASSWORD, "Basic256Sha256", "reverse",
                                  listen=f"opc.tcp://127.0.0.1:{port}", uri=uri)
    if ok("node: reverse connect: the server dials, and the operator is in", "session" in answer, answer):
        equal("node: reverse connect: the endpoint is the server's", answer["endpoint"], url)
        got = (await client.ask("read", ids=[node("plc/level")]))["values"][0]
        equal("node: reverse connect: a value", (got["status"], got["value"]), ("Good", 5.0))
    await client.ask("close")


async def registered(client, url, lds, gateway):
    """The discovery server knows the gateway as long as it runs."""
    uri = (await client.ask("endpoints", url=url))["servers"][0]["uri"]

    async def known():
        found = await client.ask("endpoints", url=lds)
        return {server["uri"]: server["urls"] for server in found.get("servers", [])}

    async def there():
        return uri in await known()

    ok("node: the gateway is registered at the discovery server", await until(there, 30), gateway.tail())
    equal("node: with the address of its endpoints", (await known()).get(uri), [url])
    equal("node: SIGTERM: exit 0", (await gateway.end())[0], 0)

    async def gone():
        return uri not in await known()

    ok("node: and it is no longer when it has ended", await until(gone, 10), await known())
    await client.ask("undiscovered")
