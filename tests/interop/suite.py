"""The interop suite: the gateway between peers that others wrote. See run.sh."""

import asyncio
import logging
import shutil
import sys
import time
import traceback
from pathlib import Path

import access
import alarms_part
import arrays_part
import board
import budget
import budgets
import certified
import check
import drain
import editor
import framings
import history
import hostile
import kills
import libmodbus
import node_part
import open62541
import outage
import page
import pki_part
import plain
import prometheus
import pymodbus_part
import reload_part
import rules
import scada
import schema
import shapes_part
import silence
import space
import start_faults
import stopping
import tls_part
import tool
import ua
import values
import writes
from broker import Broker
from check import listens, ok, section, until
from gateway import ROOT, Gateway, program
from host import Host
from plant import GROUP, NODE, Plant

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
CLIENT = "gateway-under-test"


async def main_part(folder):
    """Checks 1 to 4 and 6 to 8 on one plant."""
    folder.mkdir(parents=True)
    plant = Plant(folder)
    broker = Broker(folder / "broker", plant.mqtt)
    gateway = Gateway(folder, plant.config(folder), plant.http)
    host, clients = None, []
    try:
        await broker.start()
        await plant.start()
        host = Host(plant.mqtt, GROUP, NODE)
        ua.make_certificate(folder)
        code, said, why = await tool.run("pki", "trust", gateway.file, folder / "client.der")
        ok("fieldgate pki trust takes the client's certificate before the first start", code == 0, said + why)
        started_ms = time.time() * 1000
        gateway.start()
        url = f"opc.tcp://127.0.0.1:{plant.opcua}/"

        async def up():
            return (await gateway.get("/healthz"))[0] or not gateway.is_running()

        await until(up, 60)
        if not ok("the gateway runs", gateway.is_running(), gateway.tail()):
            return
        ok("all devices that are there are born",
           await until(lambda: host.is_alive("plc") and host.is_alive("rtu"), 20), gateway.tail())
        # Its key is made at the first start, and that takes as long as it takes to find two primes.
        ok("the OPC UA server listens", await until(lambda: listens(plant.opcua), 60), gateway.tail())
        section("7 who may come in")
        operator = await access.run(url, folder)
        clients += [operator] if operator else []
        anonymous = await ua.plain(url)
        clients.append(anonymous)
        devices = {"plc", "rtu"} | {f"{p}-{d}" for p in ("net", "bus") for d in ("count", "sleeper", "writer")} \
            | {"late-net-device", "late-bus-device"}
        for client in clients:
            await client.find(devices)

        section("4 absence at the start")
        await silence.absent(plant, host, anonymous)
        section("1 values, types, quality and time at both norths")
        await values.run(plant, host, anonymous, started_ms)
        section("2 the rules of Sparkplug")
        rules.check_properties(host)
        await rules.check_rebirth(host)
        section("3 writes from each north")
        if operator:
            await writes.run(plant, host, operator, anonymous)
        section("8 the page")
        await page.run(plant, gateway)
        section("4 silence, and the late ones found")
        await silence.run(plant, host, anonymous, gateway)
        for client in clients:
            await client.client.disconnect()
        clients.clear()
        section("6 the clean stop")
        await stopping.run(plant, broker, host, gateway)
        section("2 the rules of Sparkplug, over all of this")
        rules.check_log(host.of("NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH", "NDEATH"), "the whole log")
        rules.check_broker(broker, CLIENT, "at the broker")
    finally:
        gateway.cleanup()
        for client in clients:
            try:
                await client.client.disconnect()
            except Exception:
                pass  # the gateway may be gone
        if host:
            host.close()
        await plant.stop()
        await broker.stop()


async def guarded(part, folder):
    """A part that breaks off is a failed check, and the next part runs."""
    try:
        await part(folder)
    except Exception:
        ok(f"{part.__module__}.{part.__name__} runs to its end", False, traceback.format_exc())
    if check.failed:
        log = folder / "gateway.log"
        if log.exists():
            print(f"--- the end of {log}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-25:]))


async def main():
    """All parts, or those named on the command line."""
    folder = ROOT / "target" / "interop"
    shutil.rmtree(folder, ignore_errors=True)
    # Short names: a pseudo-terminal's link and a Unix path have their limits.
    parts = {
        "schema": schema.run,
        "editor": editor.run,
        "main": main_part,
        "outage": outage.run,
        "kills": kills.run,
        "drain": drain.run,
        "budget": budget.run,
        "history": history.run,
        "plain": plain.run,
        "libmodbus": libmodbus.run,
        "libmodbus-simulated": libmodbus.clients,
        "pymodbus": pymodbus_part.run,
        "pymodbus-simulated": pymodbus_part.clients,
        "framings": framings.run,
        "framings-simulated": framings.clients,
        "tls": tls_part.run,
        "arrays": arrays_part.run,
        "space": space.run,
        "node": node_part.run,
        "hostile": hostile.run,
        "shapes": shapes_part.run,
        "scada": scada.run,
        "alarms": alarms_part.run,
        "pki": pki_part.run,
        "certified": certified.run,
        "open62541": open62541.run,
        "prometheus": prometheus.run,
        "reload": reload_part.run,
        "start_faults": start_faults.run,
    }
    by_name = {"board": board.run, "budgets": budgets.run}
    began = time.monotonic()
    print(f"gateway: {program()}")
    for name in sys.argv[1:] or parts:
        await guarded((parts | by_name)[name], folder / name)
    print(f"\n{time.monotonic() - began:.0f} s", end="")
    return check.summary()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
