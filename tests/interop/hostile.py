"""Part `hostile`: garbage, half messages, floods of chunks, idle ones, unknown certificates and slow readers at the OPC
UA server. It lives, others are served, the field is polled on time, and its memory is bounded."""

import asyncio
import datetime
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import ua as client_side
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from check import listens, ok, section, until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from field import TcpPeer, Unit
from gateway import Gateway
from plant import PASSWORD, free_port, head, tcp

PERIOD = 0.1
TAGS = 1000
# What a hundred connections, their buffers and the answers under way may take at most.
MEMORY = 160 * 1024 * 1024
CERTIFICATES = int(os.environ.get("HOSTILE_CERTIFICATES", "200"))


def config(folder, modbus, opcua, http):
    """A counter that is polled ten times a second, and a thousand tags."""
    tags = "\n".join(f'r{at} = {{ at = "holding:{at}", type = "u16" }}' for at in range(TAGS))
    return f"""\
{head("hostile", fast=f'{int(PERIOD * 1000)}ms')}
[store]
path = "{folder}/store"

[publish.opcua]
listen = "127.0.0.1:{opcua}"
security = ["none", "basic256sha256"]
anonymous = true

[[publish.opcua.user]]
name = "operator"
password = {{ file = "{folder}/password" }}

[publish.http]
listen = "127.0.0.1:{http}"

{tcp("net", modbus)}
[[device]]
name = "count"
link = "net"
unit = 1
scan = "fast"
[device.tag]
count = {{ at = "input:0", type = "u32" }}

[[device]]
name = "many"
link = "net"
unit = 2
scan = "fast"
[device.tag]
{tags}
"""


async def run(folder):
    """All attacks, one after another, on one gateway."""
    section("hostile clients of the OPC UA server")
    folder.mkdir(parents=True)
    counter = Unit(1, counter=True)
    peer = TcpPeer(free_port(), [counter, Unit(2, {"holding": [0] * TAGS})])
    opcua, http = free_port(), free_port()
    (folder / "password").write_text(PASSWORD + "\n")
    gateway = Gateway(folder, config(folder, peer.port, opcua, http), http)
    try:
        await peer.start()
        gateway.start()
        ok("hostile: the server listens", await until(lambda: listens(opcua), 60), gateway.tail())
        url = f"opc.tcp://127.0.0.1:{opcua}/"
        for name, attack in (
            ("garbage", garbage), ("half messages", halves), ("floods of chunks", chunks),
            ("idle connections", idle), ("unknown certificates", certificates), ("slow readers", slow),
            ("sessions that nobody logs in to", unused),
        ):
            await under(name, attack, folder, url, opcua, gateway, counter)
    finally:
        gateway.cleanup()
        await peer.stop()


async def under(name, attack, folder, url, port, gateway, counter):
    """One attack, by a process of its own: its work must not keep the device here from answering."""
    before, began = len(counter.served), time.monotonic()
    noise = gateway.log.read_text(errors="replace").count(" ERROR opcua_")
    with (folder / "attack.log").open("w") as log:
        process = subprocess.Popen([sys.executable, __file__, attack.__name__, folder, url, str(port)], stdout=log, stderr=log)
    over = await until(lambda: process.poll() is not None, 180 + CERTIFICATES / 4)
    if not over:
        process.kill()
        process.wait()
    took, polls = time.monotonic() - began, len(counter.served) - before
    ok(f"hostile: {name}: the attack is over", over and process.returncode == 0,
       (folder / "attack.log").read_text()[-600:] if over else "hangs")
    ok(f"hostile: {name}: the gateway lives", gateway.is_running(), gateway.tail())
    ok(f"hostile: {name}: the field is polled as before", polls >= 0.8 * took / PERIOD - 2, f"{polls} in {took:.1f} s")

    async def served():
        try:
            reader = await (await client_side.plain(url)).find({"count"})
            value = await reader.read("count/count")
            await reader.client.disconnect()
            return value.StatusCode.is_good()
        except Exception:
            return False

    ok(f"hostile: {name}: who comes then is served", await until(served, 30), gateway.tail())
    # A line for each certificate is wanted; errors that anybody can cause are bounded.
    errors = gateway.log.read_text(errors="replace").count(" ERROR opcua_")
    minutes = (time.monotonic() - began) / 60 + 2
    ok(f"hostile: {name}: the log is not flooded", errors - noise <= 20 * minutes, f"{errors - noise} lines in {took:.1f} s")
    size = memory(gateway.pid)
    print(f"     {name}: {took:.1f} s, {size // 2**20} MiB")
    ok(f"hostile: {name}: its memory is bounded", size < MEMORY, f"{size // 2**20} MiB")


def memory(pid):
    """What is resident, in bytes."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def hello(port):
    """The first message, with the buffers that clients have (OPC 10000-6, section 7.1.2.3)."""
    address = f"opc.tcp://127.0.0.1:{port}/".encode()
    body = struct.pack("<5Ii", 0, 65536, 65536, 0, 0, len(address)) + address
    return b"HELF" + struct.pack("<I", len(body) + 8) + body


def opening():
    """OpenSecureChannel without security (sections 6.7.2 and 6.7.4)."""
    policy = b"http://opcfoundation.org/UA/SecurityPolicy#None"
    header = struct.pack("<I", 0) + struct.pack("<i", len(policy)) + policy + struct.pack("<ii", -1, -1)
    request = b"\x00\x00" + struct.pack("<qIIiI", 0, 1, 0, -1, 0) + b"\x00\x00\x00"
    body = b"\x01\x00\xbe\x01" + request + struct.pack("<IIIiI", 0, 0, 1, -1, 3_600_000)
    whole = header + struct.pack("<II", 1, 1) + body
    return b"OPNF" + struct.pack("<I", len(whole) + 8) + whole


async def raw(port, *pieces, answers=0):
    """A connection to which these were written, and so many messages read; None where the server closed it."""
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 10)
    try:
        got = []
        for piece in pieces:
            writer.write(piece)
            await asyncio.wait_for(writer.drain(), 10)
            if len(got) < answers:
                head = await asyncio.wait_for(reader.readexactly(8), 10)
                got.append(head + await asyncio.wait_for(
                    reader.readexactly(struct.unpack("<I", head[4:])[0] - 8), 10))
        return reader, writer, got
    except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
        writer.close()
        return None


async def garbage(_folder, _url, port):
    """What port scanners and broken clients send."""
    pieces = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01" + os.urandom(500), os.urandom(4096), b"\0" * 70_000,
              b"HELF" + struct.pack("<I", 0xFFFFFFFF) + b"x" * 100, b"HELF" + struct.pack("<I", 0),
              b"HELF" + struct.pack("<I", 8), b"MSGF" + struct.pack("<I", 24) + b"\0" * 16,
              hello(port)[:20], hello(port) + os.urandom(500), hello(port) * 3,
              hello(port) + b"OPNF" + struct.pack("<I", 0x7FFFFFFF), hello(port) + opening()[:40] + os.urandom(200),
              b"HELF" + struct.pack("<I", 32 + 70_000) + struct.pack("<5Ii", 0, 1, 1, 0, 0, 70_000) + b"u" * 70_000]
    for _ in range(30):
        for piece in pieces:
            held = await raw(port, piece)
            if held:
                held[1].close()


async def halves(_folder, _url, port):
    """Messages that end in the middle, by peers that stay."""
    held = []
    for at in range(60):
        begun = (hello(port)[:4 + at % 20], hello(port) + opening()[:10 + at])[at % 2]
        held.append(await raw(port, begun))
    await asyncio.sleep(2)
    close(held)


def close(held):
    """Ends the connections that are still there."""
    for one in held:
        if one:
            one[1].close()


async def chunks(_folder, _url, port):
    """Chunks of a message that never ends, until the server has enough."""
    for size in (64, 8192, 65_000):
        held = await raw(port, hello(port), opening(), answers=2)
        if not held:
            raise RuntimeError("a channel without security was not opened")
        reader, writer, answers = held
        # Behind the policy and two absent strings: sequence header, type, response header, then the token.
        channel = struct.unpack("<I", answers[1][8:12])[0]
        at = answers[1].index(b"#None") + 5 + 8 + 8 + 4
        token = struct.unpack("<I", answers[1][at + 24 + 4 + 4:at + 24 + 8 + 4])[0]
        sent, number, refused = 0, 2, False
        while sent < 200 * 2**20 and not refused:
            body = struct.pack("<4I", channel, token, number, 2) + b"x" * size
            try:
                writer.write(b"MSGC" + struct.pack("<I", len(body) + 8) + body)
                await asyncio.wait_for(writer.drain(), 10)
            except (OSError, asyncio.TimeoutError):
                refused = True
            refused = refused or reader.at_eof() or writer.is_closing()
            sent, number = sent + len(body) + 8, number + 1
        writer.close()
        if not refused:
            raise RuntimeError(f"{sent} bytes of a message without an end were taken")


async def idle(_folder, _url, port):
    """More connections than it takes, that say nothing."""
    held = []
    for _ in range(600):
        try:
            held.append(await raw(port))
        except (OSError, asyncio.TimeoutError):
            break
    await asyncio.sleep(1)
    close(held)


async def certificates(folder, url, _port):
    """Clients of which each has another certificate, all of one key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "stranger.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    now = datetime.datetime.now(datetime.timezone.utc)

    async def come(number):
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"stranger {number}")])
        names = [x509.UniformResourceIdentifier("urn:stranger")]
        certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                       .serial_number(x509.random_serial_number()).not_valid_before(now)
                       .not_valid_after(now + datetime.timedelta(days=30))
                       .add_extension(x509.SubjectAlternativeName(names), False).sign(key, hashes.SHA256()))
        file = folder / f"stranger-{number % 8}.der"
        file.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
        client = Client(url, timeout=20)
        await client.set_security(SecurityPolicyBasic256Sha256, str(file), str(folder / "stranger.pem"),
                                  mode=ua.MessageSecurityMode.SignAndEncrypt)
        try:
            await client.connect_socket()
            await client.send_hello()
            await client.open_secure_channel()
            await client.create_session()
        except Exception:
            pass  # refused is right, and what the others see is what counts
        finally:
            client.disconnect_socket()

    for first in range(0, CERTIFICATES, 8):
        await asyncio.gather(*(come(first + at) for at in range(8)))
    kept = [file for file in (folder / "store").rglob("*") if file.suffix in (".der", ".pem", ".crt")]
    if len(kept) > 200:
        raise RuntimeError(f"{len(kept)} certificates are kept")


async def slow(_folder, url, _port):
    """Clients that ask and do not take the answers."""
    clients = []
    for _ in range(8):
        client = Client(url, timeout=20)
        await client.connect()
        clients.append(client)
        index = await client.get_namespace_index([n for n in await client.get_namespace_array() if "fieldgate" in n][0])
        parameters = ua.ReadParameters()
        parameters.NodesToRead = [ua.ReadValueId(ua.NodeId(f"many/r{at}", index), ua.AttributeIds.Value)
                                  for at in range(TAGS)]
        request = ua.ReadRequest()
        request.Parameters = parameters
        client.uaclient.protocol.transport.pause_reading()
        for _ in range(200):
            client.uaclient.protocol._send_request(request)
    await asyncio.sleep(3)
    for client in clients:
        client.uaclient.protocol.transport.abort()
    # Its tasks would wait for the connections that are gone.
    os._exit(0)


async def unused(_folder, url, _port):
    """Sessions that are created until there are no more, and never logged in to."""
    client = Client(url, timeout=20)
    await client.connect_socket()
    await client.send_hello()
    await client.open_secure_channel()

    async def create(seconds):
        parameters = ua.CreateSessionParameters()
        parameters.ClientDescription.ApplicationUri = "urn:hostile"
        parameters.EndpointUrl = url
        parameters.SessionName = "unused"
        parameters.RequestedSessionTimeout = seconds * 1000
        parameters.ClientNonce = os.urandom(32)
        return (await client.uaclient.create_session(parameters)).RevisedSessionTimeout

    given = await create(3600)
    if given > 60_000:
        raise RuntimeError(f"a session that nobody logs in to keeps its place for {given} ms")
    try:
        for _ in range(1000):
            await create(3)
        raise RuntimeError("there is no end to sessions")
    except ua.uaerrors.BadTooManySessions:
        pass
    client.disconnect_socket()


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
