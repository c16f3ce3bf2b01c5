"""Check 4: a device that falls silent is bad at both norths, and good again without a restart."""

import time

import fixture
from check import equal, ok, until
from plant import PERIOD, TIMEOUT
from values import severity

# One period until the next poll, its time-out, one more try; then what a busy machine may add.
BOUND = PERIOD + 2 * TIMEOUT + 1.0


async def sleeps_and_wakes(plant, peer, prefix, host, reader, gateway):
    """One unit of a shared link."""
    device, path, pid = f"{prefix}-sleeper", f"{prefix}-sleeper/level", gateway.pid
    other = f"{prefix}-count/count"
    deaths = len(host.of("DDEATH", device=device))
    peer.silent.add(3)
    began = time.monotonic()

    async def bad_at_opcua():
        return severity((await reader.read(path)).StatusCode) == fixture.BAD

    bad = await until(bad_at_opcua, 10)
    took_opcua = time.monotonic() - began
    dead = await until(lambda: len(host.of("DDEATH", device=device)) > deaths, 10)
    took_sparkplug = time.monotonic() - began
    ok(f"{device} silent: bad at OPC UA within {BOUND:.2f} s", bad and took_opcua <= BOUND, f"took {took_opcua:.2f} s")
    ok(f"{device} silent: DDEATH within {BOUND:.2f} s", dead and took_sparkplug <= BOUND, f"took {took_sparkplug:.2f} s")
    equal(f"{device} silent: one DDEATH", len(host.of("DDEATH", device=device)), deaths + 1)
    count = len(host.values(other))
    ok(f"{device} silent: its neighbour on the link goes on", await until(lambda: len(host.values(other)) > count + 4, 10))

    births = len(host.of("DBIRTH", device=device))
    peer.units[3].load({"holding": [4321]})
    peer.silent.discard(3)

    async def good_again():
        data = await reader.read(path)
        point = host.last(path)
        return data.StatusCode.is_good() and data.Value.Value == 4321 and point and point.value == 4321

    ok(f"{device} answers again: good at both norths", await until(good_again, 20),
       (host.last(path), await reader.read(path)))
    equal(f"{device} answers again: one DBIRTH", len(host.of("DBIRTH", device=device)), births + 1)
    ok("the gateway was not restarted", gateway.pid == pid and gateway.is_running())


LATE = {"late-net-device": 4711, "late-bus-device": 4712}


async def absent(plant, host, reader):
    """Two links without a peer at the start; the peers come now, and are looked for later."""
    for device in LATE:
        ok(f"{device} absent: not born, bad at OPC UA", not host.of("DBIRTH", device=device)
           and severity((await reader.read(f"{device}/level")).StatusCode) == fixture.BAD)
    await plant.late_net.start()
    await plant.late_cable.plug()
    await plant.late_bus.start()


async def there_at_last(host, reader):
    """Those two are found without a restart."""
    for device, value in LATE.items():
        path = f"{device}/level"

        async def good():
            data, point = await reader.read(path), host.last(path)
            return data.StatusCode.is_good() and data.Value.Value == value and point and point.value == value

        ok(f"{device} there at last: born, good at both norths", await until(good, 40),
           (host.last(path), await reader.read(path)))


async def run(plant, host, reader, gateway):
    """Both links, and both kinds of absence."""
    await there_at_last(host, reader)
    await sleeps_and_wakes(plant, plant.net, "net", host, reader, gateway)
    await sleeps_and_wakes(plant, plant.bus, "bus", host, reader, gateway)

    # The whole net goes away and comes back.
    births = len(host.of("DBIRTH", device="plc"))
    await plant.net.stop()

    async def bad():
        return severity((await reader.read("plc/u16_abcd_holding")).StatusCode) == fixture.BAD

    ok("a closed port: all tags bad", await until(bad, 10) and await until(lambda: not host.is_alive("plc"), 5))
    await plant.net.start()
    ok("an open port again: born and good", await until(lambda: len(host.of("DBIRTH", device="plc")) > births, 40)
       and await until(lambda: host.is_alive("plc"), 5))
