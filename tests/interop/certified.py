"""Part `certified`: users that log in with a certificate in place of a password, with asyncua and node-opcua."""

import json

import tool
import ua as opcua
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyAes256Sha256RsaPss, SecurityPolicyBasic256Sha256
from certificates import DAY, rsa_certificate
from check import equal, listens, ok, section, until
from gateway import Gateway
from node_client import NodeClient
from plant import free_port

# By the names that node-opcua has for them.
POLICIES = {"Basic256Sha256": SecurityPolicyBasic256Sha256, "Aes256_Sha256_RsaPss": SecurityPolicyAes256Sha256RsaPss}
NODE = "ns=2;s=pump/speed"


def config(folder, port, nowhere):
    """A device that nobody answers for: a write that gets so far is told BadNoCommunication."""
    return f"""\
[node]
group = "interop"
name = "certified"

[store]
path = "{folder}/store"

[[link.modbus-tcp]]
name = "net"
host = "127.0.0.1"
port = {nowhere}

[[device]]
name = "pump"
link = "net"
[device.tag]
speed = {{ at = "holding:0", type = "u16", access = "read-write" }}

[publish.opcua]
trust = "any"
listen = "127.0.0.1:{port}"
security = ["none", "basic256sha256", "aes256"]
anonymous = true

[[publish.opcua.user]]
name = "declared"
certificate = "{folder}/declared.der"

[[publish.opcua.user]]
name = "ended"
certificate = "{folder}/ended.der"
role = "engineer"
"""


async def run(folder):
    """Refusals, roles, a change while it runs, and the end of sessions."""
    folder.mkdir(parents=True)
    opcua.make_certificate(folder)
    for name in ("declared", "ann", "next"):
        rsa_certificate(folder, name, f"urn:interop:{name}")
    rsa_certificate(folder, "ended", "urn:interop:ended", times=(-2 * DAY, -DAY))
    port = free_port()
    gateway = Gateway(folder, config(folder, port, free_port()))
    url = f"opc.tcp://127.0.0.1:{port}/"
    node = NodeClient(folder)

    async def command(what, *more):
        code, said, why = await tool.run("user", what, gateway.file, *more)
        ok(f"fieldgate user {what} works", code == 0, said + why)
        return said

    async def write(badge, policy="Basic256Sha256", key=None):
        """What a write of this user is answered, or why there is no session."""
        try:
            client = await log_in(url, folder, badge, key or badge, policy)
        except ua.UaStatusCodeError as error:
            return ua.StatusCode(error.code).name
        try:
            await client.get_node(NODE).write_attribute(ua.AttributeIds.Value, ua.DataValue(ua.Variant(7, ua.VariantType.UInt16)))
            return "Good"
        except ua.UaStatusCodeError as error:
            return ua.StatusCode(error.code).name
        finally:
            await client.disconnect()

    async def write_node(badge, policy, key=None):
        """The same with node-opcua."""
        answer = await node.connect(url, policy=policy, userCertificate=str(folder / f"{badge}.der"),
                                    userKey=str(folder / f"{key or badge}.pem"))
        if "error" not in answer:
            answer = await node.ask("write", id=NODE, type="UInt16", value=7)
        await node.ask("close")
        return answer.get("error") or answer["status"]

    try:
        section("users with certificates")
        gateway.start()
        ok("the OPC UA server listens", await until(lambda: listens(port), 60), gateway.tail())
        await node.start()
        endpoints = await Client(url, timeout=10).connect_and_get_server_endpoints()
        offered = {(e.SecurityMode.name, tuple(sorted(t.TokenType.name for t in e.UserIdentityTokens))) for e in endpoints}
        equal("encrypted endpoints take them, the other one does not", offered,
              {("None_", ("Anonymous",)), ("SignAndEncrypt", ("Certificate", "UserName"))})
        for policy in POLICIES:
            equal(f"asyncua, {policy}: an observer of the configuration is in and may not write",
                  await write("declared", policy), "BadUserAccessDenied")
            equal(f"node, {policy}: the same", await write_node("declared", policy), "BadUserAccessDenied")
            equal(f"asyncua, {policy}: nobody's certificate", await write("ann", policy), "BadIdentityTokenRejected")
            equal(f"node, {policy}: nobody's certificate", await write_node("ann", policy), "BadIdentityTokenRejected")
            equal(f"asyncua, {policy}: one that has ended", await write("ended", policy), "BadIdentityTokenRejected")
            wrong = [await write("declared", policy, key="ann"), await write_node("declared", policy, key="ann")]
            ok(f"{policy}: with the key of another nobody is in", all(w.startswith("Bad") for w in wrong)
               and "BadUserAccessDenied" not in wrong, wrong)

        section("users with certificates: changes while it runs")
        await command("add", "ann", "--role", "operator", "--certificate", folder / "ann.der")

        async def is_in():
            return await write("ann") == "BadNoCommunication"

        ok("added, the operator's write goes as far as the device", await until(is_in, 30), gateway.tail())
        equal("node: the same", await write_node("ann", "Aes256_Sha256_RsaPss"), "BadNoCommunication")
        listed = json.loads(await command("list", "--json"))
        equal("the list has certificates and days", [(u["name"], u["days_left"] >= 0, len(u["certificate"])) for u in listed],
              [("declared", True, 40), ("ended", False, 40), ("ann", True, 40)])
        old = await log_in(url, folder, "ann", "ann", "Basic256Sha256")
        await command("certificate", "ann", folder / "next.der", "--role", "observer")

        async def is_next():
            return await write("next") == "BadUserAccessDenied"

        ok("another certificate and role hold", await until(is_next, 30), gateway.tail())
        equal("the one before does not", await write("ann"), "BadIdentityTokenRejected")

        async def is_out():
            try:
                await old.nodes.server_state.read_value()
                return False
            except Exception:  # however the connection ends
                return True

        ok("the session that it opened has ended", await until(is_out, 30))
        try:
            await old.disconnect()
        except Exception:  # it is gone already
            pass
        await command("remove", "ann")

        async def is_gone():
            return await write("next") == "BadIdentityTokenRejected"

        ok("removed, nobody is in with it", await until(is_gone, 30), gateway.tail())
        log = gateway.tail(1 << 20)
        for name in ("declared", "ann"):
            ok(f"the audit log names {name}", any("logged in with a certificate" in line and name in line
                                                  for line in log.splitlines()))
    finally:
        await node.stop()
        gateway.cleanup()


async def log_in(url, folder, badge, key, policy):
    """A session of asyncua; the application's certificate is that of `ua.make_certificate`."""
    client = Client(url, timeout=20)
    client.application_uri = opcua.APPLICATION
    await client.set_security(POLICIES[policy], str(folder / "client.der"), str(folder / "client.pem"),
                              mode=ua.MessageSecurityMode.SignAndEncrypt)
    await client.load_client_certificate(str(folder / f"{badge}.der"))
    await client.load_private_key(folder / f"{key}.pem")
    await client.connect()
    return client
