"""Licences, bans and sources of every dependency against deny.toml: what `cargo deny` checks, where it is not installed.

usage: licences.py      run in the repository's root, Python 3.11 or later
"""

import json
import re
import subprocess
import sys
import tomllib

REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def allowed(expression, licences):
    """Whether an SPDX expression can be met with the given licences. `/` is the old way to write OR."""
    tokens = re.findall(r"\(|\)|[^\s()/]+|/", expression.replace(" WITH ", "\0"))
    tokens = [token.replace("\0", " WITH ") for token in tokens]

    def either():
        met = both()
        while tokens and tokens[0] in ("OR", "/"):
            tokens.pop(0)
            right = both()
            met = met or right
        return met

    def both():
        met = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            right = one()
            met = met and right
        return met

    def one():
        token = tokens.pop(0)
        if token != "(":
            return token in licences
        met = either()
        assert tokens.pop(0) == ")", expression
        return met

    met = either()
    assert not tokens, expression
    return met


def main():
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)
    licences = set(rules["licenses"]["allow"])
    banned = {ban["name"]: ban["reason"] for ban in rules["bans"]["deny"]}
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--all-features"]
    packages = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["packages"]
    faults = []
    for package in packages:
        name = f"{package['name']} {package['version']}"
        if not package["license"] or not allowed(package["license"], licences):
            faults.append(f"{name}: licence {package['license']} is not allowed")
        if package["name"] in banned:
            faults.append(f"{name}: {banned[package['name']]}")
        if package["source"] not in (None, REGISTRY):
            faults.append(f"{name}: source {package['source']}")
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(packages)} packages, {len(faults)} faults")
    sys.exit(bool(faults))


main()
