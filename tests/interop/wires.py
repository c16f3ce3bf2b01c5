"""The link of the configuration file to a peer, and what `fieldgate scan` is told to find it there."""

from plant import rtu, tcp


def tcp_link(port, more="", timeout="5s"):
    """A `[[link.modbus-tcp]]` of the name `link`."""
    return tcp("link", port, timeout) + more


def rtu_link(port, table="modbus-rtu", more=""):
    """A `[[link.modbus-rtu]]`. Whoever opens it listens for one time-out first, so it is short."""
    return rtu("link", port, "1s", table) + more


def tcp_scan(port):
    """Arguments of `fieldgate scan`."""
    return "tcp", f"127.0.0.1:{port}", "--timeout", "2s"


def serial_scan(port):
    """Arguments of `fieldgate scan`."""
    return "serial", port, "--bauds", "115200", "--parities", "none", "--timeout", "1s"
