"""Part `open62541`: its client, on which many HMIs and controllers are built, over each policy and with each log-in."""

import asyncio
import json
import sys
from pathlib import Path

import ua as opcua
from certificates import rsa_certificate
from check import equal, listens, ok, section, until
from field import TcpPeer, Unit
from gateway import Gateway
from plant import PASSWORD, free_port, head, tcp

PEER = Path(__file__).with_name("peer_open62541.py")
NODE = "ns=2;s=pump/speed"
STATE = "i=2259"
SECONDS = 60  # after which the client hangs


def config(folder, plc, port):
    """A tag that can be written, a user with a password, one with a certificate."""
    (folder / "password").write_text(PASSWORD + "\n")
    return f"""\
{head("open62541", fast="100ms")}
[store]
path = "{folder}/store"

[publish.opcua]
trust = "any"
listen = "127.0.0.1:{port}"
security = ["none", "basic256sha256", "aes256"]
anonymous = true

[[publish.opcua.user]]
name = "operator"
password = {{ file = "{folder}/password" }}
role = "operator"

[[publish.opcua.user]]
name = "ann"
certificate = "{folder}/ann.der"
role = "operator"

{tcp("net", plc)}
[[device]]
name = "pump"
link = "net"
unit = 1
scan = "fast"
[device.tag]
speed = {{ at = "holding:0", type = "u16", access = "read-write" }}
"""


async def session(**given):
    """What one session of the client saw."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, PEER, json.dumps(given), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
    try:
        out, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
        return {"error": "it hangs"}
    lines = out.decode().strip().splitlines()
    return json.loads(lines[-1]) if lines else {"error": f"it ended with {process.returncode}"}


async def run(folder):
    """Reads, subscriptions and writes; and who is refused."""
    folder.mkdir(parents=True)
    opcua.make_certificate(folder)
    for name in ("ann", "eve"):
        rsa_certificate(folder, name, f"urn:interop:{name}")
    plc, port = TcpPeer(free_port(), [Unit(1, {"holding": [50]})]), free_port()
    gateway = Gateway(folder, config(folder, plc.port, port))
    url = f"opc.tcp://127.0.0.1:{port}"
    secure = {"certificate": f"{folder}/client.der", "key": f"{folder}/client.pem", "uri": opcua.APPLICATION,
              "trust": f"{folder}/store/publishers/opcua/pki/own/cert.der"}
    try:
        section("open62541")
        await plc.start()
        gateway.start()
        ok("the OPC UA server listens", await until(lambda: listens(port), 60), gateway.tail())

        async def is_read():
            seen = await session(url=url, read=[NODE])
            return seen.get("values") == [["50", "GOOD"]]

        ok("without encryption it comes in and reads the tag", await until(is_read, 30), gateway.tail())
        seen = await session(url=url, read=[STATE], write=[NODE, 7])
        equal("there it may not write", seen.get("written"), "BAD_USER_ACCESS_DENIED")
        wanted = 100
        for policy in ("BASIC256SHA256", "AES256_SHA256_RSAPSS"):
            for who, given in (("a password", {"user": "operator", "password": PASSWORD}),
                               ("a certificate", {"badge": f"{folder}/ann.der", "badge_key": f"{folder}/ann.pem"})):
                wanted += 1
                seen = await session(url=url, policy=policy, read=[NODE], watch=NODE, write=[NODE, wanted], **given, **secure)
                if not ok(f"{policy}: it comes in with {who}", "error" not in seen, seen):
                    continue
                equal("it reads what was there", seen["values"][0][1], "GOOD")
                equal("its write is taken", (seen["written"], plc.units[1].words("holding", 0, 1)), ("GOOD", [wanted]))
                ok("and told to it", str(wanted) in seen["told"], seen)
            for who, given in (("a wrong password", {"user": "operator", "password": "wrong"}),
                               ("nobody's certificate", {"badge": f"{folder}/eve.der", "badge_key": f"{folder}/eve.pem"}),
                               ("another key", {"badge": f"{folder}/ann.der", "badge_key": f"{folder}/eve.pem"})):
                seen = await session(url=url, policy=policy, read=[NODE], **given, **secure)
                ok(f"{policy}: it does not come in with {who}", "error" in seen, seen)
    finally:
        gateway.cleanup()
        await plc.stop()
