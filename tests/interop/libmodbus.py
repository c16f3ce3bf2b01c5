"""Part `libmodbus`: the gateway against libmodbus over TCP and over RTU, both ways."""

import master
import peer_libmodbus as peer
import slave
from field import Cable
from plant import free_port
from wires import rtu_link, serial_scan, tcp_link, tcp_scan

# What the gateway's commands ask. `scan` asks 43/14, too, and then 17; a function that libmodbus does not know is
# refused by its TCP server and unheard by its RTU server, which cannot tell where such a frame ends.
ASKED = {1, 2, 3, 4, 5, 6, 15, 16, 17, 22, 23}
WHO = ({}, peer.SERVER_ID.hex())


async def run(folder):
    """Our master against its servers."""
    port = free_port()
    await master.everything("libmodbus TCP", folder / "tcp", tcp_link(port), peer.Server("tcp", port), tcp_scan(port),
                            WHO, ASKED | {43})
    (folder / "rtu").mkdir()
    cable = Cable(folder / "rtu", "bus")
    try:
        await cable.plug()
        await master.everything("libmodbus RTU", folder / "rtu", rtu_link(cable.gateway_end),
                                peer.Server("rtu", cable.field_end, 1), serial_scan(cable.gateway_end), WHO, ASKED)
    finally:
        await cable.unplug()


async def clients(folder):
    """Part `libmodbus-simulated`: its clients against our simulated devices."""
    # The link's own place is not used: the simulated devices are where there is room.
    await slave.everything("libmodbus TCP", folder / "tcp-client", tcp_link(free_port()), lambda d: peer.Client("tcp", d.port, 1), peer.FUNCTIONS)
    await slave.everything("libmodbus RTU", folder / "rtu-client", rtu_link("/dev/ttyS99"), lambda d: peer.Client("rtu", d.address, 1), peer.FUNCTIONS)
