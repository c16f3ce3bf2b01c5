"""The values under test: what lies in the registers, worked out with `struct`, and what must arrive.

Nothing here is shared with the gateway's own code. Each value exists twice, as set "a" (found at the
start) and set "b" (a change), with the registers of both.
"""

import struct
from dataclasses import dataclass, field

ORDERS = ("abcd", "badc", "cdab", "dcba")

# type in the configuration file -> (struct letter, Sparkplug data type, OPC UA built-in type)
NUMBERS = {
    "i16": ("h", "INT16", "Int16"),
    "u16": ("H", "UINT16", "UInt16"),
    "i32": ("i", "INT32", "Int32"),
    "u32": ("I", "UINT32", "UInt32"),
    "i64": ("q", "INT64", "Int64"),
    "u64": ("Q", "UINT64", "UInt64"),
    "f32": ("f", "FLOAT", "Float"),
    "f64": ("d", "DOUBLE", "Double"),
}
# Two values of each type for each order: extremes, signs and patterns without a symmetric byte.
SAMPLES = {
    "i16": [(-2, 0x1234), (32767, -32768), (-12345, 258), (1, -1)],
    "u16": [(0x0102, 0xFFFE), (65535, 0), (40000, 1), (255, 256)],
    "i32": [(-123456789, 2147483647), (-2147483648, 66051), (305419896, -2), (-65536, 65535)],
    "u32": [(0x01020304, 4294967295), (4000000000, 1), (305419896, 0), (65536, 16909060)],
    "i64": [(-1234567890123456789, 72623859790382856), (9223372036854775807, -9223372036854775808),
            (-2, 4294967296), (1250999896491, -65536)],
    "u64": [(72623859790382856, 18446744073709551615), (9223372036854775808, 1),
            (9007199254740993, 0), (65537, 18364758544493064720)],
    "f32": [(10.0, -273.15), (3.4028234663852886e38, 1e-30), (-0.001, 123456.789), (7.25, -0.5)],
    "f64": [(-1.7976931348623157e308, 0.1), (2.718281828459045, 1e-300), (-40.0, 1e15), (0.3333333333333333, -6.25)],
}
BOOL = ("BOOLEAN", "Boolean")
TEXT = ("STRING", "String")
GOOD, UNCERTAIN, BAD = "good", "uncertain", "bad"


def words_of(kind, value, order):
    """The registers that hold a number: A is the most significant byte."""
    raw = struct.pack(">" + NUMBERS[kind][0], value)
    words = [raw[i:i + 2] for i in range(0, len(raw), 2)]
    if order in ("cdab", "dcba"):
        words.reverse()
    if order in ("badc", "dcba"):
        words = [word[::-1] for word in words]
    return [int.from_bytes(word, "big") for word in words]


def words_of_text(text, length, order):
    """The registers that hold a text of `length` bytes, padded with NUL."""
    raw = text.encode().ljust(length, b"\0")
    words = [raw[i:i + 2] for i in range(0, length, 2)]
    return [int.from_bytes(w[::-1] if order in ("badc", "dcba") else w, "big") for w in words]


def single(value):
    """What a double becomes in single precision."""
    return struct.unpack(">f", struct.pack(">f", value))[0]


@dataclass
class Tag:
    """One tag: its line in the configuration file, its registers and what must arrive."""
    name: str
    keys: dict
    area: str
    address: int
    types: tuple  # Sparkplug, OPC UA
    raw: dict  # set -> registers or bits from `address` on
    expect: dict  # set -> (value, quality)

    def toml(self):
        parts = []
        for key, value in self.keys.items():
            text = f'"{value}"' if isinstance(value, str) else str(value)
            parts.append(f"{key} = {text}")
        return f"{self.name} = {{ {', '.join(parts)} }}"


@dataclass
class Table:
    """All tags of the device under test; the same over TCP and over RTU."""
    tags: list = field(default_factory=list)
    free: dict = field(default_factory=lambda: {"holding": 0, "input": 0, "coil": 0, "discrete": 0})

    def add(self, name, area, at, types, keys, raw, expect):
        self.tags.append(Tag(name, {"at": at, **keys}, area, self.free[area], types, raw, expect))
        self.free[area] += len(raw["a"])

    def number(self, area, kind, order, a, b, name=None, keys=None, value=lambda v: v, types=None):
        exact = single if kind == "f32" else (lambda v: v)
        self.add(
            name or f"{kind}_{order}_{area}", area, f"{area}:{self.free[area]}", types or NUMBERS[kind][1:],
            {"type": kind, "order": order, **(keys or {})},
            {"a": words_of(kind, a, order), "b": words_of(kind, b, order)},
            {"a": (value(exact(a)), GOOD), "b": (value(exact(b)), GOOD)},
        )


def build():
    """The whole table: every type, order and area, scaling, limits, and values that are no value."""
    table = Table()
    for kind in NUMBERS:
        for order, (a, b) in zip(ORDERS, SAMPLES[kind]):
            table.number("holding", kind, order, a, b)
            table.number("input", kind, order, b, a)
    for area in ("coil", "discrete"):
        for i, (a, b) in enumerate([(True, False), (False, True), (True, True), (False, False)]):
            table.add(f"bool_{area}_{i}", area, f"{area}:{table.free[area]}", BOOL, {"type": "bool"},
                      {"a": [a], "b": [b]}, {"a": (a, GOOD), "b": (b, GOOD)})
    for area in ("holding", "input"):
        # One register with four bits taken from it: 0x8009 has 15, 3 and 0; 0x4001 has 14 and 0.
        register = table.free[area]
        for bit, a, b in [(0, True, True), (3, True, False), (14, False, True), (15, True, False)]:
            table.tags.append(Tag(f"bit{bit}_{area}", {"at": f"{area}:{register}.{bit}", "type": "bool"}, area,
                                  register, BOOL, {"a": [0x8009], "b": [0x4001]},
                                  {"a": (a, GOOD), "b": (b, GOOD)}))
        table.free[area] += 1
        # Two bytes of one register: 0xFE7F is -2 and 127, 0x80FF is -128 and -1.
        register = table.free[area]
        for half, kind, a, b in [("hi", "i8", -2, -128), ("lo", "i8", 127, -1), ("hi", "u8", 254, 128), ("lo", "u8", 127, 255)]:
            types = ("INT8", "SByte") if kind == "i8" else ("UINT8", "Byte")
            table.tags.append(Tag(f"{kind}_{half}_{area}", {"at": f"{area}:{register}.{half}", "type": kind}, area,
                                  register, types, {"a": [0xFE7F], "b": [0x80FF]},
                                  {"a": (a, GOOD), "b": (b, GOOD)}))
        table.free[area] += 1
        for order, a, b in [("abcd", "Pumpe 7", "m³/h"), ("badc", "badc text", "Größe")]:
            table.add(f"text_{order}_{area}", area, f"{area}:{table.free[area]}", TEXT,
                      {"type": "string", "length": 12, "order": order},
                      {"a": words_of_text(a, 12, order), "b": words_of_text(b, 12, order)},
                      {"a": (a, GOOD), "b": (b, GOOD)})
    double = ("DOUBLE", "Double")
    table.number("holding", "i16", "abcd", 215, -105, "scaled_i16", {"scale": 0.1, "unit": "°C"},
                 lambda v: v / 10, double)
    table.number("holding", "u16", "abcd", 1000, 65535, "offset_u16", {"scale": 0.5, "offset": -40.0},
                 lambda v: v / 2 - 40.0, double)
    table.number("input", "u32", "cdab", 123456, 4000000000, "scaled_u32", {"scale": 0.001, "unit": "m3"},
                 lambda v: v / 1000, double)
    table.number("input", "f32", "dcba", 2.5, -4.0, "scaled_f32", {"scale": 4.0, "offset": 1.0},
                 lambda v: v * 4.0 + 1.0, double)
    # Above its limit: there is a value, to be used with care.
    table.number("holding", "u16", "abcd", 150, 50, "limited_u16", {"low": 0.0, "high": 100.0, "unit": "%"})
    table.tags[-1].expect["a"] = (150, UNCERTAIN)
    # A float that is no number: no value.
    address = table.free["holding"]
    table.add("nan_f32", "holding", f"holding:{address}", NUMBERS["f32"][1:], {"type": "f32"},
              {"a": [0x7FC0, 0x0001], "b": words_of("f32", 1.5, "abcd")},
              {"a": (None, BAD), "b": (1.5, GOOD)})
    return table


def memory(table, which):
    """The four areas of the device as lists, for the Modbus peer."""
    areas = {"holding": [0] * table.free["holding"], "input": [0] * table.free["input"],
             "coil": [False] * table.free["coil"], "discrete": [False] * table.free["discrete"]}
    for tag in table.tags:
        raw = tag.raw[which]
        areas[tag.area][tag.address:tag.address + len(raw)] = raw
    return areas
