"""The gateway's commands against one server that others wrote: every function, type, order, limit and refusal."""

import fixture
import tool
from check import equal, ok, section, until
from plant import WRITABLE, device
from writes import CASES, close

# Where a peer's server refuses, and with which exception.
REFUSALS = {code: 1000 + 10 * code for code in (2, 3, 4, 6)}
# The last of 2000 bits and of 125 registers in one request (Application Protocol V1.1b3, sections 6.1 and 6.3).
MOST_BITS, MOST_REGISTERS, MOST_WRITTEN = 2000, 125, 123


def config(link, devices):
    """A configuration file: the link named `link` and devices on it."""
    return f'[node]\ngroup = "interop"\nname = "peers"\n\n[system]\nenabled = false\n\n[scan]\nfast = "250ms"\n\n{link}\n' \
        + "\n".join(devices)


def tags(lines):
    """Tags by name and keys."""
    return "\n".join(f"{name} = {{ {keys} }}" for name, keys in lines.items())


def exact(got, want):
    """The same value. JSON has no 64-bit integers: those come as text, where they must; an f32 comes in its shortest form."""
    if isinstance(want, bool) or want is None:
        return got is want
    if isinstance(want, int):
        return int(got) == want if isinstance(got, (int, str)) and not isinstance(got, bool) else False
    if isinstance(want, float):
        return isinstance(got, (int, float)) and (got == want or fixture.single(got) == want)
    return got == want


async def everything(title, folder, link, server, scan, who, asked):
    """All of this module, and who `fieldgate scan` says that the server is."""
    folder.mkdir(parents=True, exist_ok=True)
    section(f"{title}: our master, its server")
    try:
        await server.start()
        await values(title, folder, link, server)
        await limits(title, folder, link, server)
        await refusals(title, folder, link)
        await writes(title, folder, link, server)
        await bits(title, folder, link, server)
        if "port = \"" in link:
            await broadcasts(title, folder, link, server)
        if scan:
            found = (await tool.scan(*scan, "--units", "1")).get(1, {})
            equal(f"{title}: scan finds the unit and who it is",
                  (found.get("identification"), (found.get("server_id") or {}).get("bytes")), who)
        equal(f"{title}: the functions that were asked", sorted(await server.asked()), sorted(asked))
    finally:
        await server.stop()


async def values(title, folder, link, server):
    """Two sets of all types, orders and areas: value, quality and registers of each."""
    table = fixture.build()
    reader = tool.Tool(folder, "values", config(link, [device("plc", "link", 1, "\n".join(t.toml() for t in table.tags))]))
    for which in ("a", "b"):
        await server.load(fixture.memory(table, which))
        got = await reader.read()
        wrong = []
        for tag in table.tags:
            value, quality = tag.expect[which]
            read, said, words = got.get(f"plc/{tag.name}", (None, "missing", []))
            want = [int(word) for word in tag.raw[which]]
            if not exact(read, value) or not said.startswith(quality) or (words and words != want):
                wrong.append((tag.name, read, said, words, value, want))
        equal(f"{title}: all {len(table.tags)} tags of set {which} are exact, in every type and order", wrong[:3], [])


async def limits(title, folder, link, server):
    """The largest requests that there are."""
    words = [0x4100 + (at * 7) % 26 * 0x100 + 0x61 + at % 26 for at in range(MOST_REGISTERS)]
    bits = [at * at % 7 < 3 for at in range(MOST_BITS)]
    await server.load({"input": words, "holding": words, "discrete": bits, "coil": bits})
    asked = [*range(0, MOST_BITS, 100), MOST_BITS - 1]
    lines = {"long_input": f'at = "input:0", type = "string", length = {2 * MOST_REGISTERS}',
             "long_holding": f'at = "holding:0", type = "string", length = {2 * MOST_REGISTERS}'}
    lines |= {f"{area}_{at}": f'at = "{area}:{at}", type = "bool"' for area in ("coil", "discrete") for at in asked}
    got = await tool.Tool(folder, "limits", config(link, [device("plc", "link", 1, tags(lines))])).read()
    text = b"".join(word.to_bytes(2, "big") for word in words).decode()
    for area in ("input", "holding"):
        equal(f"{title}: {MOST_REGISTERS} {area} registers are one value", got[f"plc/long_{area}"][0], text)
    for area in ("coil", "discrete"):
        wrong = [(at, got[f"plc/{area}_{at}"]) for at in asked if got[f"plc/{area}_{at}"][0] is not bits[at]]
        equal(f"{title}: bits of {area} 0 to {MOST_BITS - 1} are exact", wrong, [])
    lines = {"label": f'at = "holding:300", type = "string", length = {2 * MOST_WRITTEN}, access = "read-write"'}
    writer = tool.Tool(folder, "longest", config(link, [device("plc", "link", 1, tags(lines))]))
    text = "".join(chr(0x21 + at % 90) for at in range(2 * MOST_WRITTEN))
    code, after, _ = await writer.write("plc/label", text)
    equal(f"{title}: {MOST_WRITTEN} registers are written at once", (code, after), (0, text))
    equal(f"{title}: they are in the server's memory", await server.words("holding", 300, MOST_WRITTEN),
          fixture.words_of_text(text, 2 * MOST_WRITTEN, "abcd"))


async def refusals(title, folder, link):
    """Exceptions come through as they are, and harm no neighbour."""
    lines = {f"refused_{code}": f'at = "holding:{at}", type = "u16", access = "read-write"' for code, at in REFUSALS.items()}
    lines |= {"good": 'at = "holding:0", type = "u16"'}
    one = tool.Tool(folder, "refusals", config(link, [device("plc", "link", 1, tags(lines), "max-gap = 0")]))
    got = await one.read()
    for code in REFUSALS:
        want = "bad: device busy" if code == 6 else f"bad: refused with exception {code}"
        equal(f"{title}: exception {code} of a read is told", got[f"plc/refused_{code}"], (None, want, []))
    equal(f"{title}: the neighbour of refused registers is good", got["plc/good"][1], "good")


async def writes(title, folder, link, server):
    """Every type is written, in each way that there is; see `write` and `bit-write` in docs/config.md."""
    writable = tags({n: f'{k}, access = "read-write"' for n, (k, _, _) in WRITABLE.items()})
    for turn, how in enumerate(("single", "multiple", "read-back")):
        await server.load({"holding": [0] * 21, "coil": [False] * 4})
        writer = tool.Tool(folder, how, config(link, [device("writer", "link", 1, writable, f'write = "{how}"')]))
        # The two values of each by turns.
        names = CASES if how != "read-back" else ("speed", "total")
        for name in names:
            cases = CASES[name]
            value, (area, address, want) = cases[turn % 2]
            code, after, said = await writer.write(f"writer/{name}", value)
            there = await server.bits("coil", address, 1) == [want] if area == "coil" \
                else await server.words(area, address, len(want)) == want
            ok(f"{title}: {name} = {value!r} ({how}) is written exactly and read back",
               code == 0 and there and (exact(after, value) or close(after, value)), (code, after, there, said))


async def bits(title, folder, link, server):
    """Parts of a register: what is not meant stays."""
    lines = {"flag": 'at = "holding:30.3", type = "bool"', "low": 'at = "holding:31.lo", type = "u8"'}
    lines = {name: f'{keys}, access = "read-write"' for name, keys in lines.items()}
    for how in ("mask", "read-modify-write"):
        await server.load({"holding": [0] * 30 + [0xA5A0, 0x1234]})
        writer = tool.Tool(folder, how, config(link, [device("bits", "link", 1, tags(lines), f'bit-write = "{how}"')]))
        code, after, said = await writer.write("bits/flag", True)
        equal(f"{title}: one bit is written ({how})", (code, after, await server.words("holding", 29, 3)),
              (0, True, [0, 0xA5A8, 0x1234])) or print(said)
        code, after, said = await writer.write("bits/low", 0xFE)
        equal(f"{title}: one byte is written ({how})", (code, after, await server.words("holding", 30, 2)),
              (0, 0xFE, [0xA5A8, 0x12FE])) or print(said)


async def broadcasts(title, folder, link, server):
    """Unit 0 of a serial line: done, and answered by nobody."""
    lines = {"all": 'at = "holding:60", type = "u16", access = "write-only"'}
    await server.load({"holding": [0] * 62})
    writer = tool.Tool(folder, "broadcast", config(link, [device("everybody", "link", 0, tags(lines), "broadcast = true")]))
    code, _, said = await writer.write("everybody/all", 4711)
    equal(f"{title}: a broadcast is sent and done", (code, await until(lambda: there(server), 5)), (0, True)) or print(said)


async def there(server):
    """What was broadcast is in the memory, and nothing beside it."""
    return await server.words("holding", 59, 3) == [0, 4711, 0]
