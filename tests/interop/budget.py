"""A link that is paid by volume: what goes north in an hour is bounded, alarms are not, and it is told who waits."""

import asyncio
import re
import time

from broker import Broker
from check import ok, section, until
from drain import Recorder, Wide, config
from field import TcpPeer
from gateway import Gateway
from plant import free_port

NODE = "gateway-4"
TAGS = 20
BUDGET = 180 * 1024  # bytes an hour: a tenth of it at once, and nine tenths over the hour


async def run(folder):
    """Until the budget is used up, and some time after it."""
    section(f"5 a budget of {BUDGET // 1024} KiB an hour")
    folder.mkdir(parents=True)
    broker = Broker(folder / "broker", free_port())
    units = [Wide(1, 1), Wide(2, TAGS)]
    net = TcpPeer(free_port(), units)
    http = free_port()
    # Twenty values ten times a second: a megabyte in four minutes.
    text = config(folder, broker.port, net, NODE, TAGS, f'budget = "{BUDGET // 1024}KiB"',
                  f'[publish.http]\nlisten = "127.0.0.1:{http}"')
    gateway = Gateway(folder, text, http)
    recorder = None
    try:
        await broker.start()
        await net.start()
        recorder = Recorder(broker.port, "budget-host")
        began = time.time()
        gateway.start()
        ok("values arrive", await until(lambda: len(recorder.came) > 20, 20), gateway.tail())

        async def short():
            told = re.search(r"fieldgate_publisher_budget_short\{[^}]*\} (\d+)", (await gateway.get("/metrics"))[1])
            return told and told[1] == "3"

        ok("normal values wait in the end", await until(short, 60), gateway.tail())
        used_up = time.time()
        await asyncio.sleep(10)
        end = time.time()
        judge(list(recorder.came), units, began, used_up, end)
        body = (await gateway.get("/healthz"))[1]
        ok("/healthz says that values wait for the budget", "budget" in body, body)
        code, took = await gateway.end()
        ok("SIGTERM: exit 0 within 5 s", code == 0 and took < 5, f"code {code}, {took:.1f} s")
    finally:
        gateway.cleanup()
        if recorder:
            recorder.close()
        await net.stop()
        await broker.stop()


def judge(came, units, began, used_up, end):
    """What went, in bytes of MQTT."""
    size = lambda topic, payload: len(topic) + len(payload) + 2 + (1 if len(topic) + len(payload) < 126 else 2)
    of = lambda kind, device: [(at, size(t, p)) for at, t, p in came
                               if f"/{kind}/" in t and t.endswith(device) and at < end]
    values = sum(bytes for _, bytes in of("DDATA", "values"))
    # What may go at once, what is added, and one payload that was let through by the last byte.
    most = BUDGET / 10 + (end - began) * BUDGET * 0.9 / 3600 + 2048
    ok(f"values took {values} bytes in {end - began:.0f} s, the budget allows {most:.0f}", values <= most, values)
    ok("and used it", values > BUDGET / 20, values)
    alarms = [at for at, _ in of("DDATA", "alarm") if at > used_up]
    served = [at for at in units[0].served if used_up < at < end - 1]
    ok(f"alarms do not wait: {len(alarms)} came of {len(served)} that were read meanwhile",
       len(alarms) >= len(served) * 0.9 > 0, (len(alarms), len(served)))
