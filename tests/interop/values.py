"""Check 1: every value arrives at both norths with value, type, quality and source time."""

import time

import fixture
from check import equal, ok, until

SLACK_MS = 50  # between our clock's reading and the gateway's stamp


def severity(status):
    """good, uncertain or bad, by the two upper bits of a StatusCode."""
    return (fixture.GOOD, fixture.UNCERTAIN, fixture.BAD, fixture.BAD)[status.value >> 30]


def trust(point):
    """The same of a Sparkplug metric; one without a Quality property is good."""
    if point.null or point.quality == 0:
        return fixture.BAD
    return fixture.GOOD if point.quality in (None, 192) else fixture.UNCERTAIN


def source_ms(value):
    """Milliseconds since 1970 of an OPC UA source time, cut as Sparkplug cuts them."""
    stamp = value.SourceTimestamp
    if stamp is None:
        return None
    if stamp.tzinfo is None:
        import datetime
        stamp = stamp.replace(tzinfo=datetime.timezone.utc)
    return int(stamp.timestamp() * 1_000_000 + 0.5) // 1000


def compare(tag, which, point, data, since_ms):
    """What is wrong with a tag at the two norths; empty when nothing is."""
    value, quality = tag.expect[which]
    sparkplug, opcua = tag.types
    wrong = []
    if point is None:
        return ["not at the Sparkplug host"]
    if trust(point) != quality:
        wrong.append(f"Sparkplug quality {point.quality}, null {point.null}")
    if quality != fixture.BAD and (point.value != value or isinstance(point.value, bool) != isinstance(value, bool)):
        wrong.append(f"Sparkplug value {point.value!r}, want {value!r}")
    if point.type != sparkplug:
        wrong.append(f"Sparkplug type {point.type}, want {sparkplug}")
    if severity(data.StatusCode) != quality:
        wrong.append(f"OPC UA status {data.StatusCode}")
    if quality != fixture.BAD:
        if data.Value.Value != value:
            wrong.append(f"OPC UA value {data.Value.Value!r}, want {value!r}")
        if data.Value.VariantType.name != opcua:
            wrong.append(f"OPC UA type {data.Value.VariantType.name}, want {opcua}")
    stamp = source_ms(data)
    if point.ms != stamp:
        wrong.append(f"source times differ: Sparkplug {point.ms}, OPC UA {stamp}")
    now_ms = time.time() * 1000
    if stamp is None or not since_ms - SLACK_MS <= stamp <= now_ms + SLACK_MS:
        wrong.append(f"source time {stamp} is not between {since_ms:.0f} and {now_ms:.0f}")
    return wrong


async def run(plant, host, reader, started_ms):
    """Both sets of values, on both links."""
    devices = ("plc", "rtu")
    paths = {f"{d}/{t.name}": t for d in devices for t in plant.table.tags}
    equal("OPC UA browses an object per device and a variable per tag",
          sorted(p for p in paths if p not in reader.nodes), [])
    known = [p for p in paths if p in reader.nodes]
    if not known:
        return
    watcher = await reader.watch(known)
    await check_set(host, reader, paths, known, "a", started_ms)

    since_ms = time.time() * 1000
    for peer in (plant.net, plant.bus):
        peer.units[1].load(fixture.memory(plant.table, "b"))
    await check_set(host, reader, paths, known, "b", since_ms)

    def told(path):
        value, quality = paths[path].expect["b"]
        last = watcher.told.get(path, [None])[-1]
        if last is None or severity(last.StatusCode) != quality:
            return False
        return quality == fixture.BAD or last.Value.Value == value

    await until(lambda: all(told(p) for p in known), 5)
    equal("an OPC UA subscription tells each change, with status", [p for p in known if not told(p)], [])
    await until(lambda: (p := host.last("plc/unmapped")) is not None and p.null, 5)
    unmapped = await reader.read("plc/unmapped")
    point = host.last("plc/unmapped")
    ok("a register that the device refuses is bad, and its neighbours are not",
       severity(unmapped.StatusCode) == fixture.BAD and point is not None and point.null, (unmapped, point))
    data_types = {}
    for path in known:
        data_types[path] = (await reader.nodes[path].read_data_type()).Identifier
    ids = {"Boolean": 1, "SByte": 2, "Byte": 3, "Int16": 4, "UInt16": 5, "Int32": 6, "UInt32": 7, "Int64": 8,
           "UInt64": 9, "Float": 10, "Double": 11, "String": 12}
    equal("the DataType attribute of each variable is that of its tag",
          [p for p in known if data_types[p] != ids[paths[p].types[1]]], [])


async def check_set(host, reader, paths, known, which, since_ms):
    """Waits until one set is at both norths, then one line a tag."""
    wrong = {}

    async def all_there():
        values = await reader.read_all(known)
        # What did not change from the first set keeps its time.
        same = {p for p in known if which == "b" and paths[p].expect["a"] == paths[p].expect["b"]}
        for path in known:
            wrong[path] = compare(paths[path], which, host.last(path), values[path], 0 if path in same else since_ms)
        return not any(wrong.values())

    await until(all_there, 15)
    for path in paths:
        tag = paths[path]
        ok(f"value {which} {path}: {tag.keys['type']} at {tag.keys['at']} = {tag.expect[which][0]!r}",
           wrong.get(path) == [], "; ".join(wrong.get(path, ["no such node"])))
