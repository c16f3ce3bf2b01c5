"""One session of open62541's client, in a process of its own: JSON in the first argument, what it saw as JSON on
standard output. Its Python package ends a process after ten minutes, so the suite never imports it."""

import json
import sys
import time
from pathlib import Path

import o6


def main(url, policy=None, certificate=None, key=None, trust=None, uri=None, user=None, password=None, badge=None,
         badge_key=None, read=(), write=None, watch=None, seconds=10):
    """What is read, written and told of one tag; `error` where there is no session."""
    secure = {}
    if policy:
        secure = {"certificate": Path(certificate).read_bytes(), "privateKey": Path(key).read_bytes(),
                  "trustList": [Path(trust).read_bytes()], "applicationUri": uri, "securityPolicy": getattr(o6.SecurityPolicy, policy),
                  "securityMode": o6.SecurityMode.SIGN_AND_ENCRYPT}
    client = o6.Client(url, username=user, password=password, **secure)
    if badge:
        client.config.setAuthenticationCert(Path(badge).read_bytes(), Path(badge_key).read_bytes())
    seen = {"values": [], "written": None, "told": []}
    try:
        client.connect()
    except o6.StatusCodeError as error:
        return {"error": str(error.code)}
    try:
        values = [client.read(node, valueOnly=False) for node in read]
        seen["values"] = [[str(value.value), str(value.status)] for value in values]
        if watch:
            client.monitor(watch, lambda *told: seen["told"].append(str(told[-1])), samplingInterval=0.0, queueSize=10)
        if write:
            node, value = write
            seen["written"] = str(client.write(node, o6.UInt16(value)))
        until = time.monotonic() + seconds
        while watch and str(write and write[1]) not in seen["told"] and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        client.disconnect()
    return seen


print("\n" + json.dumps(main(**json.loads(sys.argv[1]))))
