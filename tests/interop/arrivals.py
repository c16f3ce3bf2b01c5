"""What the field served against what arrived at the broker's end."""

from check import equal, ok

# A sample is durable within a commit window; before this many seconds to a kill it must be.
DURABLE_AFTER = 1.0


def check(title, host, path, unit, kills, until_time, since_time=0.0, early_ms=5):
    """Each counter value that was read while the gateway lived on for a second arrives, with its time."""
    served = {value: at for value, at in unit.served if at < until_time}
    points = [p for p in host.values(path)
              if not p.null and isinstance(p.value, int) and p.ms >= since_time * 1000]
    arrived = {}
    for point in points:
        arrived.setdefault(point.value, []).append(point)
    doomed = {v for v, at in served.items() if any(0 <= kill - at < DURABLE_AFTER for kill in kills)}
    missing = [v for v in sorted(served) if v not in arrived]
    equal(f"{title}: no durable value is missing of {len(served)} that the field served",
          [v for v in missing if v not in doomed], [])
    print(f"     {len(missing)} of the {len(doomed)} values read within {DURABLE_AFTER:.0f} s before a SIGKILL are lost, "
          f"{sum(len(a) for a in arrived.values()) - len(arrived)} values came twice")
    equal(f"{title}: nothing arrives that the field never served", [v for v in arrived if v not in served and v < max(served)], [])
    late = [(v, p.ms, round(served[v] * 1000)) for v, all_points in arrived.items() if v in served
            for p in all_points if not -early_ms <= p.ms - served[v] * 1000 <= 500]
    equal(f"{title}: each value has the time at which it was read", late[:3], [])
    order = {False: [], True: []}
    back = []
    for point in points:
        if point.kind != "DDATA":
            continue
        line = order[point.history]
        if line and point.ms < line[-1].ms and not restarted_between(host, line[-1], point):
            back.append((line[-1].value, point.value, point.history))
        line.append(point)
    equal(f"{title}: live values and history come in the order of time", back[:3], [])
    return points


def restarted_between(host, a, b):
    """Whether an NBIRTH came between two points: what was not settled is then sent again."""
    return any(a.at <= m.at <= b.at for m in host.of("NBIRTH"))


def check_history(title, points, gap):
    """What was read while the broker was away comes as history, flagged."""
    begin, end = (t * 1000 for t in gap)
    within = {p.value for p in points if begin <= p.ms <= end}
    flagged = {p.value for p in points if begin <= p.ms <= end and p.history}
    ok(f"{title}: values read while the broker was away arrive ({len(within)})", len(within) > 5)
    # The last one before the birth is the birth's own value too.
    equal(f"{title}: all of them are flagged historical", sorted(within - flagged)[1:], [])
