"""One line a check, a count at the end."""

import asyncio
import socket
import time

passed = 0
failed = 0


def ok(what, good, detail=""):
    """Counts and prints one check."""
    global passed, failed
    if good:
        passed += 1
        print(f"ok   {what}", flush=True)
    else:
        failed += 1
        print(f"FAIL {what}{': ' + str(detail) if detail != '' else ''}", flush=True)
    return bool(good)


def equal(what, got, want):
    """A check that two things are the same."""
    return ok(what, got == want, f"got {got!r}, want {want!r}")


def section(title):
    """A headline between checks."""
    print(f"\n== {title}", flush=True)


async def until(condition, seconds):
    """Waits for a condition (plain or async) and gives its last value; false after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value or time.monotonic() > deadline:
            return value
        await asyncio.sleep(0.02)


def listens(port, address="127.0.0.1"):
    """Whether somebody takes connections there."""
    try:
        socket.create_connection((address, port), 1).close()
        return True
    except OSError:
        return False


def summary():
    """The closing line; the exit code."""
    print(f"\n{passed} passed, {failed} failed", flush=True)
    return 0 if failed == 0 and passed > 0 else 1
