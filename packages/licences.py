#!/usr/bin/env python3
"""Writes the file of licences that packages ship: ours, and those of every crate that is linked in."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def crates(target):
    """The packages of the program's own tree, without those only for builds and tests."""
    tree = subprocess.run(["cargo", "tree", "--locked", "--target", target, "-e", "normal", "--prefix", "none",
                           "--format", "{p}"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    wanted = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    about = json.loads(subprocess.run(["cargo", "metadata", "--locked", "--format-version", "1"], cwd=ROOT, check=True,
                                      capture_output=True, text=True).stdout)
    found = [p for p in about["packages"] if (p["name"], "v" + p["version"]) in wanted and p["source"]]
    return sorted(found, key=lambda p: (p["name"], p["version"]))


def texts(package):
    """The licence texts that come with a crate."""
    folder = Path(package["manifest_path"]).parent
    names = [p for p in folder.iterdir() if p.is_file() and p.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "UNLICENSE", "NOTICE"))]
    return [p.read_text(errors="replace").strip() for p in sorted(names)]


def main():
    """Each text once, with the crates that it is of."""
    to, target = Path(sys.argv[1]), sys.argv[2]
    packages = crates(target)
    if len(packages) < 50:
        raise SystemExit(f"only {len(packages)} crates were found; the list is not whole")
    of, bare = {}, []
    for package in packages:
        found = texts(package)
        bare += [] if found else [package]
        for text in found:
            of.setdefault(text, []).append(package)
    name = lambda p: f"{p['name']} {p['version']} ({p['license'] or 'see its file'})"
    parts = ["Fieldgate is licensed under the MIT licence or the Apache licence 2.0, at your option.\n\n"
             + (ROOT / "LICENSE-MIT").read_text() + "\n" + (ROOT / "LICENSE-APACHE").read_text(),
             "The program contains the following crates, unchanged. The source of each, those under the MPL-2.0 among them,\n"
             "is at https://crates.io/crates/NAME/VERSION."]
    for text, by in of.items():
        parts.append("\n".join(map(name, by)) + "\n\n" + text)
    if bare:
        parts.append("These come without a file of their licence:\n" + "\n".join(map(name, bare)))
    to.write_text(("\n\n" + "-" * 79 + "\n\n").join(parts) + "\n")
    print(f"{to}: {len(packages)} crates, {len(of)} texts, {len(bare)} without one")


if __name__ == "__main__":
    main()
