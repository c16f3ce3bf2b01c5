"""Part `prometheus`: Prometheus itself scrapes the gateway, evaluates the shipped alert rules, and answers the dashboard's queries."""

import asyncio
import json
import re
import urllib.parse
import urllib.request

from check import equal, ok, section, until
from gateway import ROOT, Gateway
from plant import device, free_port, head, tcp

PROGRAMS = ROOT / "target/interop-peers/usr/bin"
RULES = ROOT / "config/prometheus/alerts.yml"
DASHBOARD = ROOT / "config/grafana/fieldgate.json"


def config(folder, http):
    """A gateway of which something is wrong: neither device nor broker is there."""
    speed = 'speed = { at = "holding:0", type = "u16" }'
    return f"""\
{head("prometheus", fast="100ms")}
[store]
path = "{folder}/store"

[publish.http]
listen = "127.0.0.1:{http}"

[publish.opcua]
listen = "127.0.0.1:{free_port()}"

[[publish.sparkplug]]
name = "cloud"
broker = "mqtt://127.0.0.1:{free_port()}"

{tcp("net", free_port())}{device("plc", "net", 1, speed)}"""


def queries(panel):
    """All queries of a dashboard, wherever they stand."""
    children = panel.values() if isinstance(panel, dict) else panel if isinstance(panel, list) else []
    own = [panel["expr"]] if isinstance(panel, dict) and "expr" in panel else []
    return own + [query for child in children for query in queries(child)]


async def run(folder):
    """With Debian's Prometheus, which run.sh takes out of its package."""
    section("Prometheus")
    folder.mkdir(parents=True)
    http, port = free_port(), free_port()
    gateway = Gateway(folder, config(folder, http), http)
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{RULES}']\n"
        f"scrape_configs: [{{job_name: fieldgate, static_configs: [{{targets: ['127.0.0.1:{http}']}}]}}]\n")
    checked = await asyncio.create_subprocess_exec(PROGRAMS / "promtool", "check", "rules", RULES,
                                                   stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    said, _ = await checked.communicate()
    ok("promtool takes the alert rules", checked.returncode == 0, said.decode())

    def get(path, **given):
        address = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(given)}"
        with urllib.request.urlopen(address, timeout=5) as answer:
            return json.load(answer)["data"]

    async def ask(path, **given):
        try:
            return await asyncio.get_running_loop().run_in_executor(None, lambda: get(path, **given))
        except OSError:  # not up yet, or a query that it refuses
            return {}

    with (folder / "prometheus.log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(
            PROGRAMS / "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}", stdout=log, stderr=log)
    try:
        gateway.start()

        async def scraped():
            return [t["health"] for t in (await ask("targets")).get("activeTargets", [])] == ["up"]

        ok("it takes what the gateway tells", await until(scraped, 60), gateway.tail())

        async def rules():
            groups = (await ask("rules")).get("groups", [])
            return {r["name"]: (r["health"], r["state"]) for g in groups for r in g["rules"]}

        async def evaluated():
            found = await rules()
            return found and all(health == "ok" for health, _ in found.values()) and \
                {name for name, (_, state) in found.items() if state == "pending"} >= \
                {"FieldgateLinkDown", "FieldgateDeviceDead", "FieldgatePublisherDown"}

        ok("each rule is evaluated, and those for what is down wait to fire", await until(evaluated, 60), await rules())
        silent = []
        for query in queries(json.loads(DASHBOARD.read_text())):
            filled = re.sub(r"\$\w+", ".+", query.replace("$__rate_interval", "1m"))

            async def answers():
                return bool((await ask("query", query=filled)).get("result"))

            if not await until(answers, 20):
                silent.append(query)
        equal("each query of the dashboard has an answer", silent, [])
    finally:
        server.kill()
        await server.wait()
        gateway.cleanup()
