"""Check 6: SIGTERM ends it with exit 0 within 5 s; what is pending waits in the spool."""

import asyncio
import time

import arrivals
from check import equal, ok, until
from host import bd_seq


async def run(plant, broker, host, gateway):
    """With the broker there, then without."""
    births = host.of("NBIRTH")
    deaths = len(host.of("NDEATH"))
    code, took = await gateway.end()
    equal("SIGTERM: exit code 0", code, 0)
    ok("SIGTERM: ended within 5 s", took < 5, f"{took:.1f} s")
    ok("SIGTERM: NDEATH is published", await until(lambda: len(host.of("NDEATH")) > deaths, 3))
    equal("SIGTERM: one NDEATH", len(host.of("NDEATH")), deaths + 1)
    equal("SIGTERM: NDEATH has the bdSeq of its session", bd_seq(host.of("NDEATH")[-1]), bd_seq(births[-1]))

    counters = {"net-count/count": plant.net.units[2], "bus-count/count": plant.bus.units[2]}
    for unit in counters.values():
        unit.served.clear()
    cleared = time.time()
    gateway.start()
    await until(lambda: len(host.of("NBIRTH")) > len(births), 15)
    equal("a restart takes the next bdSeq", bd_seq(host.of("NBIRTH")[-1]), (bd_seq(births[-1]) + 1) % 256)
    now_ms = time.time() * 1000
    await until(lambda: all((p := host.last(c)) and p.ms > now_ms for c in counters), 15)

    stopped = time.time()
    await broker.stop()
    await asyncio.sleep(4)
    code, took = await gateway.end()
    ended = time.time()
    ok("SIGTERM without a broker: exit 0 within 5 s", code == 0 and took < 5, f"code {code}, {took:.1f} s")
    await broker.start()
    gateway.start()

    def all_there():
        return all(v in {p.value for p in host.values(path)} for path, unit in counters.items()
                   for v, at in unit.served if at < ended - took)

    await until(all_there, 40)
    for path, unit in counters.items():
        points = arrivals.check(f"{path} over a clean stop", host, path, unit, [], ended - took, cleared)
        arrivals.check_history(f"{path} pending at a clean stop", points, (stopped + 0.5, ended - took))
    code, took = await gateway.end()
    ok("SIGTERM again: exit 0 within 5 s", code == 0 and took < 5, f"code {code}, {took:.1f} s")
