"""Check 3: writes from each north reach the register and come home by read-back."""

from check import equal, ok, until
from fixture import single, words_of, words_of_text
from plant import WRITABLE

# The value that each north writes, and the registers it must make: area, address, words (a coil: its bit).
CASES = {
    "run": [(True, ("coil", 0, True)), (False, ("coil", 0, False))],
    "speed": [(42, ("holding", 0, [42])), (99, ("holding", 0, [99]))],
    "setpoint": [(-12.5, ("holding", 2, words_of("f32", -12.5, "cdab"))),
                 (single(0.1), ("holding", 2, words_of("f32", 0.1, "cdab")))],
    "total": [(-5000000001, ("holding", 4, words_of("i64", -5000000001, "dcba"))),
              (2 ** 62 + 3, ("holding", 4, words_of("i64", 2 ** 62 + 3, "dcba")))],
    "label": [("Füller", ("holding", 8, words_of_text("Füller", 8, "abcd"))),
              ("B", ("holding", 8, words_of_text("B", 8, "abcd")))],
    "level": [(21.5, ("holding", 12, words_of("i16", 615, "abcd"))),
              (-40.7, ("holding", 12, words_of("i16", -7, "abcd")))],
    "exact": [(0.1, ("holding", 14, words_of("f64", 0.1, "badc"))),
              (-1e300, ("holding", 14, words_of("f64", -1e300, "badc")))],
}


def lies(unit, area, address, want):
    """Whether the register holds what it should."""
    if area == "coil":
        return unit.coil(address) is want
    return unit.words(area, address, len(want)) == want


def close(a, b):
    """The same; a scaled value may come back through its register with the last bit changed."""
    return a == b or (isinstance(a, float) and isinstance(b, float) and abs(a - b) < 1e-9)


async def run(plant, host, operator, anonymous):
    """DCMD and OPC UA Write on both links, then what must be refused."""
    for prefix, peer in (("net", plant.net), ("bus", plant.bus)):
        unit = peer.units[4]
        for name, ((first, a), (second, b)) in CASES.items():
            path, (_, sparkplug, opcua) = f"{prefix}-writer/{name}", WRITABLE[name]
            host.command(f"{prefix}-writer", name, sparkplug, first)
            ok(f"DCMD {path} = {first!r} reaches the register", await until(lambda: lies(unit, *a), 5))
            await home(host, operator, path, first)
            equal(f"OPC UA Write {path} = {second!r} is answered Good", await operator.write(path, second, opcua), "Good")
            ok(f"OPC UA Write {path} is in the register when it is answered", lies(unit, *b))
            await home(host, operator, path, second)
    await refused(plant, host, operator, anonymous)


async def home(host, operator, path, value):
    """The value comes back at both norths."""
    async def there():
        point, data = host.last(path), await operator.read(path)
        return point and close(point.value, value) and close(data.Value.Value, value)

    ok(f"{path} = {value!r} comes home at both norths", await until(there, 5),
       (host.last(path), await operator.read(path)))


async def refused(plant, host, operator, anonymous):
    """Nothing of this reaches a register."""
    unit = plant.net.units[4]
    status = await operator.write("net-writer/fixed", 78, "UInt16")
    ok("OPC UA Write to a read-only tag is refused", status in ("BadNotWritable", "BadUserAccessDenied"), status)
    status = await operator.write("net-writer/speed", 101, "UInt16")
    equal("OPC UA Write above the limit is refused", status, "BadOutOfRange")
    status = await operator.write("net-writer/speed", 5.0, "Double")
    equal("OPC UA Write of another type is refused", status, "BadTypeMismatch")
    status = await operator.write("net-writer/speed", [1, 2], "UInt16")
    equal("OPC UA Write of an array is refused", status, "BadTypeMismatch")
    status = await anonymous.write("net-writer/speed", 7, "UInt16")
    ok("OPC UA Write without a user name is refused", status in ("BadUserAccessDenied", "BadNotWritable"), status)
    host.command("net-writer", "fixed", "UINT16", 79)
    host.command("net-writer", "speed", "UINT16", 102)
    host.command("net-writer", "speed", "STRING", "fast")
    host.command("net-writer", "nonsense", "UINT16", 1)
    host.command("no-such-device", "speed", "UINT16", 1)
    # The gateway takes commands in their order: when this one is home, those before it were met.
    host.command("net-writer", "run", "BOOLEAN", True)
    await until(lambda: lies(unit, "coil", 0, True), 5)
    ok("a DCMD after refused ones is carried out", lies(unit, "coil", 0, True))
    equal("refused DCMDs reach no register", unit.words("holding", 20, 1) + unit.words("holding", 0, 1), [77, 99])
