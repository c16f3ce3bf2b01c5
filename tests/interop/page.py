"""Check 8: the HTTP side answers."""

import json
import re

from check import equal, ok
from fixture import single


async def run(plant, gateway):
    """/healthz, /metrics, /api/v1/tags and the page."""
    status, body = await gateway.get("/healthz")
    equal("/healthz answers 200", status, 200)
    status, body = await gateway.get("/metrics")
    equal("/metrics answers 200", status, 200)
    line = re.compile(r'^(#.*|[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})? [-+0-9.eEinfNa]+( \d+)?)$')
    equal("/metrics is the text format of Prometheus", [x for x in body.splitlines() if x and not line.match(x)][:3], [])
    names = {x.split("{")[0].split(" ")[0] for x in body.splitlines() if x and not x.startswith("#")}
    ok("/metrics has counters of links, publishers and store, all fieldgate_…",
       names and all(n.startswith("fieldgate_") for n in names), sorted(names)[:5])
    status, body = await gateway.get("/api/v1/tags")
    equal("/api/v1/tags answers 200", status, 200)
    shown = {t["path"]: t for t in json.loads(body).get("tags", [])} if status == 200 else {}
    wrong = [(tag.name, shown.get(f"plc/{tag.name}", {}).get("value"), tag.expect["b"][0]) for tag in plant.table.tags
             if not same(shown.get(f"plc/{tag.name}", {}), *tag.expect["b"])]
    equal("/api/v1/tags has every tag with value and quality", wrong, [])
    status, body = await gateway.get("/")
    ok("the page answers", status == 200 and "<html" in body.lower(), (status, body[:100]))
    status, _ = await gateway.get("/no-such-page")
    equal("an unknown page is 404", status, 404)


def same(shown, value, quality):
    """JSON has no 64-bit integers: those come as text. A float comes in its shortest form."""
    got = shown.get("value")
    if isinstance(value, int) and abs(value) >= 2 ** 53:
        got = int(got) if isinstance(got, str) else got
    elif isinstance(value, float) and isinstance(got, (int, float)):
        got = single(got) if got != value else got
    return shown.get("quality") == quality and got == value
