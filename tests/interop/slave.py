"""A client that others wrote against our simulated devices: every function, the largest requests, refusals."""

from check import equal, ok, section, until
from fixture import words_of_text
from master import config, tags
from plant import device
from simulated import Simulated

# The tags make 125 holding and 125 input registers, 2000 coils and 2000 discrete inputs. A text says its own name, what
# can be written stays, and a discrete input goes on and off.
TEXT = "a_text_that_says_its_own_name"
TAGS = {
    TEXT: 'at = "input:0", type = "string", length = 250',
    "most_written": 'at = "holding:0", type = "string", length = 246, access = "read-write"',
    "rest": 'at = "holding:123", type = "u32", access = "read-write"',
    "first_coil": 'at = "coil:0", type = "bool", access = "read-write"',
    "last_coil": 'at = "coil:1999", type = "bool", access = "read-write"',
    "first_discrete": 'at = "discrete:3", type = "bool"',
    "last_discrete": 'at = "discrete:1999", type = "bool"',
}
DONE = ("=", [])


async def everything(title, folder, link, connect, functions):
    """All of this module; `connect` makes the client for an address."""
    folder.mkdir(parents=True, exist_ok=True)
    section(f"{title}: its client, our simulated device")
    text = config(link, [device("plc", "link", 1, tags(TAGS))])
    async with Simulated(folder, "simulated", text) as devices:
        client = connect(devices)
        await client.start()
        try:
            await reads(title, client)
            await writes(title, client)
            if 22 in functions:
                await masks(title, client)
            if 23 in functions:
                await writes_and_reads(title, client)
            if 17 in functions:
                await names(title, client, 43 in functions)
            await refusals(title, client)
        finally:
            await client.stop()
    for code in (3, 4, 6):
        async with Simulated(folder, f"refusing-{code}", text, "--exceptions", f"every=1,code={code}") as devices:
            client = connect(devices)
            await client.start()
            try:
                equal(f"{title}: it understands our exception {code}", await client.ask(3, 0, 1), ("exception", code))
            finally:
                await client.stop()


async def reads(title, client):
    """Functions 2 and 4 up to their limits."""
    equal(f"{title}: function 4: 125 input registers", await client.ask(4, 0, 125), ("=", words_of_text(TEXT, 250, "abcd")))
    seen, wrong = set(), []

    async def both_seen_on_and_off():
        kind, bits = await client.ask(2, 0, 2000)
        if kind != "=" or len(bits) != 2000 or any(bit for at, bit in enumerate(bits) if at not in (3, 1999)):
            wrong.append((kind, bits))
            return True
        seen.update({(3, bits[3]), (1999, bits[1999])})
        return len(seen) == 4

    await until(both_seen_on_and_off, 60)
    ok(f"{title}: function 2: of 2000 discrete inputs those two are seen on and off that are", not wrong and len(seen) == 4,
       (wrong[:1], seen))


async def writes(title, client):
    """Functions 1, 3, 5, 6, 15 and 16 up to their limits."""
    _, rest = await client.ask(3, 123, 2)
    words = [(at * 2654435761 >> 7) & 0xFFFF for at in range(123)]
    equal(f"{title}: function 16: 123 registers are taken", await client.ask(16, 0, *words), DONE)
    equal(f"{title}: function 3: 125 registers, those that were written and those that were not",
          await client.ask(3, 0, 125), ("=", words + rest))
    equal(f"{title}: function 6: a register is taken", await client.ask(6, 77, 0xABCD), DONE)
    equal(f"{title}: function 6: it is there, and its neighbours as before", await client.ask(3, 76, 3),
          ("=", [words[76], 0xABCD, words[78]]))
    coils = [at * at % 11 < 4 for at in range(1968)]
    equal(f"{title}: function 15: 1968 coils are taken", await client.ask(15, 5, *coils), DONE)
    equal(f"{title}: function 1: 2000 coils, those that were written and those that were not",
          await client.ask(1, 0, 2000), ("=", [0] * 5 + [int(c) for c in coils] + [0] * 27))
    for value in (1, 0):
        equal(f"{title}: function 5: coil {value} is taken", await client.ask(5, 1990, value), DONE)
        equal(f"{title}: function 5: it says {value}", await client.ask(1, 1989, 3), ("=", [0, value, 0]))


async def masks(title, client):
    """Function 22; the numbers of the specification's example (Application Protocol V1.1b3, section 6.16)."""
    await client.ask(6, 4, 0x12)
    equal(f"{title}: function 22 is taken", await client.ask(22, 4, 0xF2, 0x25), DONE)
    equal(f"{title}: function 22: 0x12 becomes 0x17", await client.ask(3, 4, 1), ("=", [0x17]))


async def writes_and_reads(title, client):
    """Function 23: the write comes first (section 6.17)."""
    _, rest = await client.ask(3, 121, 4)
    words = [(at * 40503 + 9) & 0xFFFF for at in range(121)]
    equal(f"{title}: function 23: 121 registers are written, 125 read", await client.ask(23, 0, 125, 0, *words),
          ("=", words + rest))


async def names(title, client, has_43):
    """Functions 17 and 43/14 (sections 6.13 and 6.21)."""
    # What the bytes of function 17 mean is left to the device; pymodbus takes the last one for the status.
    kind, said = await client.ask(17)
    ok(f"{title}: function 17: it runs and has its name",
       kind == "=" and bytes(said) in (b"\x01\xffplc", b"\x01\xffpl\0"), repr((kind, said)))
    if has_43:
        basic = {0: b"Fieldgate", 1: b"simulated"}
        answer = await client.ask(43, 1, 0)
        equal(f"{title}: function 43/14: vendor and product",
              (answer[0], {at: answer[1].get(at) for at in basic} if answer[0] == "=" else answer), ("=", basic))
        answer = await client.ask(43, 2, 4)
        equal(f"{title}: function 43/14 from object 4 on", answer, ("=", {4: b"plc"}))


async def refusals(title, client):
    """What is past the end is refused, and changes nothing."""
    for function, numbers in ((3, (124, 2)), (4, (125, 1)), (1, (2000, 1)), (2, (1999, 2)), (6, (125, 1)), (5, (2000, 1)),
                              (16, (124, 1, 2)), (15, (1999, 1, 1))):
        equal(f"{title}: function {function} past the end is refused", await client.ask(function, *numbers), ("exception", 2))
    equal(f"{title}: what is refused changes nothing", await client.ask(1, 1999, 1), ("=", [0]))
