"""`fieldgate schema` as a validator that others wrote understands it: what `check` takes is valid, what is wrong is not."""

import copy
import json
import tomllib

from jsonschema import Draft202012Validator

import tool
from check import equal, ok, section
from gateway import ROOT


async def schema(*arguments):
    """The validator of what is printed; it is a schema itself."""
    code, out, why = await tool.run("schema", *arguments)
    ok(f"fieldgate schema {' '.join(arguments)} prints", code == 0, why)
    said = json.loads(out)
    Draft202012Validator.check_schema(said)
    return Draft202012Validator(said)


def wrong(validator, document):
    """What is wrong, and where."""
    return [f"{error.json_path}: {error.message[:90]}" for error in validator.iter_errors(document)]


def tables(said):
    """All tables of a schema, the root too."""
    return [said, *(table for table in said["$defs"].values() if table["type"] == "object")]


async def run(_):
    """No gateway runs; a file is checked by its own program to know whether it is a good one."""
    section("the schema of the configuration file")
    file, profile = await schema(), await schema("--profile")

    good = [ROOT / "packages/fieldgate.toml", *sorted((ROOT / "config/examples").rglob("*.toml"))]
    golden = sorted((ROOT / "tests/golden/config").glob("*.toml"))
    taken = [path for path in golden if ": good: " in path.with_suffix(".expected").read_text()]
    ok("there are files that check takes", len(good) > 8 and len(taken) > 12, f"{len(good)} {len(taken)}")
    for path in good:
        code, _, why = await tool.run("check", path)
        ok(f"fieldgate check takes {path.relative_to(ROOT)}", code == 0, why)
    for path in good + taken:
        equal(f"{path.relative_to(ROOT)} is valid", wrong(file, tomllib.loads(path.read_text())), [])
    for path in sorted((ROOT / "config/profiles").glob("*.toml")):
        equal(f"{path.relative_to(ROOT)} is valid", wrong(profile, tomllib.loads(path.read_text())), [])

    plain = ("error[unknown-key]", "error[wrong-type]", "error[missing-key]")
    for path in golden:
        if any(code in path.with_suffix(".expected").read_text() for code in plain):
            ok(f"{path.relative_to(ROOT)} is not valid", wrong(file, tomllib.loads(path.read_text())))

    said = file.schema
    keys = [(table["title"], key, of) for table in tables(said) for key, of in table["properties"].items()]
    bare = [f"{title} {key}" for title, key, of in keys if not of.get("description") or not of.get("examples")]
    equal("every key says what it means and has an example", bare, [])
    strange = []
    for title, key, of in keys:
        one = Draft202012Validator({**of, "$defs": said["$defs"]})
        for value in [*of["examples"], *([of["default"]] if "default" in of else [])]:
            strange += [f"{title} {key}: {value}"] * bool(wrong(one, value))
    equal(f"the examples and defaults of all {len(keys)} keys are valid", strange, [])
    open_tables = [table["title"] for table in tables(said) if table.get("additionalProperties") is not False]
    equal("no table takes a key that it does not know", open_tables, [])

    plant = tomllib.loads((ROOT / "config/examples/water.toml").read_text())
    for what, change in {
        "an unknown key": lambda p: p["node"].update(nmae="x"),
        "an unknown table": lambda p: p.update(devices=[]),
        "a port as text": lambda p: next(iter(p["link"].values()))[0].update(port="502"),
        "a number as name": lambda p: p["node"].update(name=7),
        "a duration without unit": lambda p: p.setdefault("scan", {}).update(fast="5"),
        "a duration as number": lambda p: p.setdefault("scan", {}).update(fast=5),
        "a size in furlongs": lambda p: p.setdefault("store", {}).update(memory="5 furlongs"),
        "an unknown word": lambda p: p["device"][0].update(order="abdc"),
        "a number out of range": lambda p: p["device"][0].update(**{"max-registers": 126}),
        "no node": lambda p: p.pop("node"),
        "a node without name": lambda p: p["node"].pop("name"),
        "a device without link": lambda p: p["device"][0].pop("link"),
        "a tag without address": lambda p: p["device"][0].update(tag={"a": {"type": "u16"}}),
        "a tag of no type": lambda p: p["device"][0].update(tag={"a": {"at": "coil:1", "type": "float"}}),
        "a password in clear": lambda p: p.update(publish={"mqtt": [{"name": "a", "broker": "b", "password": "c"}]}),
        "a secret with two places": lambda p: p.update(
            publish={"mqtt": [{"name": "a", "broker": "b", "password": {"env": "c", "file": "d"}}]}),
    }.items():
        changed = copy.deepcopy(plant)
        change(changed)
        ok(f"{what} is not valid", wrong(file, changed))
