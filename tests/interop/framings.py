"""Part `framings`: ASCII on a serial line, RTU and ASCII over TCP, against pymodbus, both ways."""

from pymodbus import FramerType

import master
import peer_pymodbus as peer
import slave
from field import Cable
from plant import free_port
from wires import rtu_link, tcp_link

ASKED = {1, 2, 3, 4, 5, 6, 15, 16, 22, 23}
ASCII = ("modbus-ascii", "data-bits = 8\n")  # pseudo-terminals have no seven bits


async def run(folder):
    """Our master against its servers."""
    for name, framer in (("rtu", FramerType.RTU), ("ascii", FramerType.ASCII)):
        title, more = f"pymodbus {name.upper()} over TCP", f'framing = "{name}"\n'
        port = free_port()
        await master.everything(title, folder / name, tcp_link(port, more, "1s"),
                                peer.tcp_server(port, framer), None, None, ASKED)
    (folder / "line").mkdir()
    cable = Cable(folder / "line", "bus")
    try:
        await cable.plug()
        await master.everything("pymodbus ASCII", folder / "line", rtu_link(cable.gateway_end, *ASCII),
                                peer.serial_server(cable.field_end, FramerType.ASCII), None, None, ASKED)
    finally:
        await cable.unplug()


async def clients(folder):
    """Part `framings-simulated`: its clients against our simulated devices."""
    for name, framer in (("rtu", FramerType.RTU), ("ascii", FramerType.ASCII)):
        title, more = f"pymodbus {name.upper()} over TCP", f'framing = "{name}"\n'
        await slave.everything(title, folder / f"{name}-client", tcp_link(free_port(), more),
                               lambda d, framer=framer: peer.tcp_client(d.port, framer), peer.FUNCTIONS)
    await slave.everything("pymodbus ASCII", folder / "line-client", rtu_link("/dev/ttyS99", *ASCII),
                           lambda d: peer.serial_client(d.address, FramerType.ASCII), peer.FUNCTIONS)
