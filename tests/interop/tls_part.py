"""Part `tls`: Modbus/TCP Security against a server of pymodbus that demands a certificate."""

import master
import peer_pymodbus as peer
import tool
from certificates import Authority
from check import ok
from plant import device, free_port
from wires import tcp_link

# Without `scan`, which speaks no TLS.
ASKED = {1, 2, 3, 4, 5, 6, 15, 16, 22, 23}


async def run(folder):
    """Our master against its server; simulated devices speak no TLS."""
    authority = Authority(folder / "certificates")
    port = free_port()
    server = peer.tls_server(port, authority.server_context())
    await master.everything("pymodbus TLS", folder / "tls", tcp_link(port, authority.keys()), server, None, None, ASKED)
    stranger = Authority(folder / "other")
    await refused("pymodbus TLS: without a certificate of its own", folder, authority, authority.keys(own=False))
    await refused("pymodbus TLS: with a certificate of another authority", folder, authority, stranger.keys())


async def refused(title, folder, authority, keys):
    """The server is a new one, which was asked nothing yet."""
    port = free_port()
    server = peer.tls_server(port, authority.server_context())
    try:
        await server.start()
        link = tcp_link(port, keys)
        text = master.config(link, [device("plc", "link", 1, master.tags({"word": 'at = "holding:0", type = "u16"'}))])
        value, quality, _ = (await tool.Tool(folder, "refused", text).read())["plc/word"]
        ok(f"{title} nothing is read", value is None and quality.startswith("bad") and not await server.asked(),
           (value, quality, await server.asked()))
    finally:
        await server.stop()
