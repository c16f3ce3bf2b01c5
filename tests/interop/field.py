"""The field: pymodbus servers over TCP and over a pty pair, with units that count, change and fall silent."""

import asyncio
import struct
import subprocess
import time
from pathlib import Path

from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

READS = {"holding": 3, "input": 4, "coil": 1, "discrete": 2}
BLOCKS = {"holding": "h", "input": "i", "coil": "c", "discrete": "d"}


class Unit:
    """One Modbus unit. With `counter`, the u32 at input:0 grows by one with each read of it."""

    def __init__(self, number, areas=None, counter=False):
        self.number = number
        self.areas = {"holding": [0], "input": [0, 0], "coil": [False], "discrete": [False], **(areas or {})}
        self.count = 0
        self.served = []  # (value, seconds since 1970) of each read of the counter
        self.counter = counter
        self.server = None

    def device(self):
        """The unit for pymodbus; addresses beyond the areas are refused."""
        bits = [[SimData(0, values=list(self.areas[a]), datatype=DataType.BITS)] for a in ("coil", "discrete")]
        words = [[SimData(0, values=list(self.areas[a]), datatype=DataType.REGISTERS)] for a in ("holding", "input")]
        return SimDevice(id=self.number, simdata=(*bits, *words), action=self._on_access)

    async def _on_access(self, function, _start, address, _count, registers, values):
        if self.counter and function == 4 and values is None and address == 0:
            self.count += 1
            registers[0:2] = struct.unpack(">HH", struct.pack(">I", self.count))
            self.served.append((self.count, time.time()))

    def _block(self, area):
        start, _, registers, _ = self.server.context.devices[self.number].block[BLOCKS[area]]
        return start, registers

    def words(self, area, address, count):
        """What lies in the registers now."""
        start, registers = self._block(area)
        return registers[address - start:address - start + count]

    def coil(self, address):
        """What the coil says now; pymodbus keeps sixteen of them in a word."""
        start, registers = self._block("coil")
        return bool(registers[address // 16 - start] >> (address % 16) & 1)

    def load(self, areas):
        """Changes registers and bits, all at once as the gateway sees it."""
        for area, values in areas.items():
            start, registers = self._block(area)
            if area in ("coil", "discrete"):
                for address, value in enumerate(values):
                    mask = 1 << address % 16
                    word = registers[address // 16 - start]
                    registers[address // 16 - start] = word | mask if value else word & ~mask
            else:
                registers[0 - start:len(values) - start] = values


class Peer:
    """A server with its units; `silent` holds the numbers of those that do not answer now."""

    def __init__(self, units):
        self.units = {unit.number: unit for unit in units}
        self.silent = set()
        self.connects = 0
        self.server = None

    def _run(self, server):
        self.server = server
        for unit in self.units.values():
            unit.server = server

    def _connected(self, up):
        self.connects += up

    def _devices(self):
        return [unit.device() for unit in self.units.values()]

    async def stop(self):
        """Closes the port and all connections."""
        if self.server:
            await self.server.shutdown()
            self.server = None


class TcpPeer(Peer):
    """Modbus TCP."""

    def __init__(self, port, units):
        super().__init__(units)
        self.port = port

    async def start(self):
        def trace(sending, data):
            return b"" if sending and data[6] in self.silent else data

        server = ModbusTcpServer(self._devices(), address=("127.0.0.1", self.port), trace_packet=trace,
                                 trace_connect=self._connected)
        await server.serve_forever(background=True)
        self._run(server)


class Cable:
    """Two pseudo-terminals joined by socat: the gateway's end and the field's end."""

    def __init__(self, folder, name):
        self.gateway_end = f"{folder}/{name}"
        self.field_end = f"{folder}/{name}-field"
        self.process = None

    async def plug(self):
        """Makes both ends; they exist when this returns."""
        ends = [f"pty,raw,echo=0,link={end}" for end in (self.gateway_end, self.field_end)]
        self.process = await asyncio.create_subprocess_exec("socat", *ends, stderr=subprocess.DEVNULL)
        for _ in range(500):
            if Path(self.gateway_end).exists() and Path(self.field_end).exists():
                return
            await asyncio.sleep(0.01)
        raise RuntimeError("socat made no pseudo-terminals")

    async def unplug(self):
        """Both ends are gone."""
        if self.process:
            self.process.terminate()
            await self.process.wait()
            self.process = None


class RtuPeer(Peer):
    """Modbus RTU on the field's end of a cable."""

    def __init__(self, cable, units):
        super().__init__(units)
        self.cable = cable

    async def start(self):
        def trace(sending, data):
            return b"" if sending and data[0] in self.silent else data

        server = ModbusSerialServer(self._devices(), framer=FramerType.RTU, port=self.cable.field_end,
                                    baudrate=115200, bytesize=8, parity="N", stopbits=2, trace_packet=trace)
        await server.serve_forever(background=True)
        self._run(server)
