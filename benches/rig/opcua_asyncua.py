"""An asyncua server of the same variables as the bench's gateway: PORT and number of tags as arguments."""

import asyncio
import logging
import sys
import time

from asyncua import Server, ua

logging.getLogger("asyncua").setLevel(logging.CRITICAL)


async def main(port, tags):
    """Every variable counts the seconds."""
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace("urn:bench")
    plc = await server.nodes.objects.add_object(ua.NodeId("plc", index), "plc")
    ids = [ua.NodeId(f"plc/t{n}", index) for n in range(tags)]
    for n, node in enumerate(ids):
        await plc.add_variable(node, f"t{n}", 0, ua.VariantType.UInt32)
    async with server:
        print("ready", flush=True)
        due, count = time.monotonic(), 0
        while True:
            due, count = due + 1, count + 1
            await asyncio.sleep(max(0, due - time.monotonic()))
            for node in ids:
                value = ua.DataValue(ua.Variant(count, ua.VariantType.UInt32))
                await server.write_attribute_value(node, value)


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
