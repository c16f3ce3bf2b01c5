"""Part `pymodbus`: the gateway against pymodbus over TCP and over RTU, both ways."""

import master
import peer_pymodbus as peer
import slave
from field import Cable
from plant import free_port
from wires import rtu_link, serial_scan, tcp_link, tcp_scan

ASKED = {1, 2, 3, 4, 5, 6, 15, 16, 17, 22, 23, 43}


async def run(folder):
    """Our master against its servers."""
    port = free_port()
    await master.everything("pymodbus TCP", folder / "tcp", tcp_link(port), peer.tcp_server(port), tcp_scan(port),
                            peer.WHO, ASKED)
    (folder / "rtu").mkdir()
    cable = Cable(folder / "rtu", "bus")
    try:
        await cable.plug()
        await master.everything("pymodbus RTU", folder / "rtu", rtu_link(cable.gateway_end),
                                peer.serial_server(cable.field_end), serial_scan(cable.gateway_end), peer.WHO, ASKED)
    finally:
        await cable.unplug()


async def clients(folder):
    """Part `pymodbus-simulated`: its clients against our simulated devices."""
    # The link's own place is not used: the simulated devices are where there is room.
    await slave.everything("pymodbus TCP", folder / "tcp-client", tcp_link(free_port()), lambda d: peer.tcp_client(d.port), peer.FUNCTIONS)
    await slave.everything("pymodbus RTU", folder / "rtu-client", rtu_link("/dev/ttyS99"), lambda d: peer.serial_client(d.address), peer.FUNCTIONS)
