"""pymodbus as a peer: its servers and clients over every transport that it has."""

import asyncio

from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient, AsyncModbusTlsClient
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusException
from pymodbus.pdu.device import ModbusControlBlock
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusTlsServer

from field import Unit
from master import REFUSALS

FUNCTIONS = (1, 2, 3, 4, 5, 6, 15, 16, 17, 22, 23, 43)
SIZE = 2512  # registers and bits of each area; pymodbus keeps sixteen bits in a word
IDENTITY = {"VendorName": "Pymodbus peer", "ProductCode": "PP-1", "MajorMinorRevision": "3.16"}
# What `fieldgate scan` makes of it: the answers to functions 43/14 and 17.
WHO = ({"vendor": "Pymodbus peer", "product-code": "PP-1", "revision": "3.16"}, b"Pymodbus peer-PP-1-3.16\xff".hex())


class Refusing(Unit):
    """A unit that refuses some registers."""

    async def _on_access(self, function, start, address, count, registers, values):
        for code, at in REFUSALS.items():
            if function in (3, 6, 16) and address == at:
                return ExcCodes(code)
        return None


class Server:
    """A server of pymodbus with one unit of number 1."""

    def __init__(self, make):
        self.make = make
        self.unit = Refusing(1, {"holding": [0] * SIZE, "input": [0] * SIZE, "coil": [False] * SIZE,
                                 "discrete": [False] * SIZE})
        self.functions = set()
        self.server = None

    def _trace(self, sending, pdu):
        if not sending:
            self.functions.add(pdu.function_code)
        return pdu

    async def start(self):
        """Listens when this returns."""
        identity = ModbusControlBlock().Identity
        identity.VendorName, identity.ProductCode, identity.MajorMinorRevision = IDENTITY.values()
        self.server = self.make([self.unit.device()], trace_pdu=self._trace)
        await self.server.serve_forever(background=True)
        self.unit.server = self.server

    async def stop(self):
        """Closes the port and all connections."""
        if self.server:
            await self.server.shutdown()
            self.server = None

    async def load(self, areas):
        """Puts registers and bits from 0 on."""
        self.unit.load(areas)

    async def words(self, area, at, count):
        """What lies in registers now."""
        return self.unit.words(area, at, count)

    async def bits(self, area, at, count):
        """What bits say now."""
        start, registers = self.unit._block(area)
        return [bool(registers[a // 16 - start] >> (a % 16) & 1) for a in range(at, at + count)]

    async def asked(self):
        """The functions that it was asked."""
        return set(self.functions)


def tcp_server(port, framer=FramerType.SOCKET):
    """Modbus TCP, or with another framer RTU or ASCII over TCP."""
    return Server(lambda units, **more: ModbusTcpServer(units, framer=framer, address=("127.0.0.1", port), **more))


def serial_server(tty, framer=FramerType.RTU):
    """RTU or ASCII on a serial port; it obeys broadcasts."""
    return Server(lambda units, **more: ModbusSerialServer(units, framer=framer, port=tty, baudrate=115200, bytesize=8,
                                                           parity="N", stopbits=2, broadcast_enable=True, **more))


def tls_server(port, context):
    """Modbus/TCP Security."""
    return Server(lambda units, **more: ModbusTlsServer(units, address=("127.0.0.1", port), sslctx=context, **more))


class Client:
    """A client of pymodbus that asks one unit."""

    def __init__(self, client, unit=1):
        self.client, self.unit = client, unit

    async def start(self):
        """Connected when this returns."""
        if not await self.client.connect():
            raise RuntimeError("pymodbus does not connect")

    async def stop(self):
        """Closes."""
        self.client.close()
        await asyncio.sleep(0)  # its transport closes with the loop's next turn

    async def ask(self, function, *numbers):
        """("=", values), ("exception", code) or ("error", words)."""
        c, unit = self.client, {"device_id": self.unit}
        at, rest = (numbers[0], list(numbers[1:])) if numbers else (0, [])
        bits = [bool(n) for n in rest]
        calls = {
            1: lambda: c.read_coils(at, count=rest[0], **unit),
            2: lambda: c.read_discrete_inputs(at, count=rest[0], **unit),
            3: lambda: c.read_holding_registers(at, count=rest[0], **unit),
            4: lambda: c.read_input_registers(at, count=rest[0], **unit),
            5: lambda: c.write_coil(at, bits[0], **unit),
            6: lambda: c.write_register(at, rest[0], **unit),
            15: lambda: c.write_coils(at, bits, **unit),
            16: lambda: c.write_registers(at, rest, **unit),
            17: lambda: c.report_device_id(**unit),
            22: lambda: c.mask_write_register(address=at, and_mask=rest[0], or_mask=rest[1], **unit),
            23: lambda: c.readwrite_registers(read_address=at, read_count=rest[0], write_address=rest[1],
                                              values=rest[2:], **unit),
            43: lambda: c.read_device_information(read_code=at, object_id=rest[0], **unit),
        }
        try:
            answer = await calls[function]()
        except ModbusException as why:
            return "error", str(why)
        if answer.isError():
            return "exception", answer.exception_code
        if function in (1, 2):
            return "=", [int(bit) for bit in answer.bits[:rest[0]]]
        if function in (3, 4, 23):
            return "=", list(answer.registers)
        if function == 17:
            return "=", [*answer.identifier, 0xFF if answer.status else 0]
        if function == 43:
            return "=", dict(answer.information)
        return "=", []


def tcp_client(port, framer=FramerType.SOCKET):
    """Modbus TCP, or with another framer RTU or ASCII over TCP."""
    return Client(AsyncModbusTcpClient("127.0.0.1", port=port, framer=framer, timeout=10, retries=0, reconnect_delay=0))


def serial_client(tty, framer=FramerType.RTU):
    """RTU or ASCII on a serial port."""
    return Client(AsyncModbusSerialClient(tty, framer=framer, baudrate=115200, bytesize=8, parity="N", stopbits=2,
                                          timeout=10, retries=0, reconnect_delay=0))


def tls_client(port, context):
    """Modbus/TCP Security."""
    return Client(AsyncModbusTlsClient("127.0.0.1", port=port, sslctx=context, timeout=10, retries=0, reconnect_delay=0))
