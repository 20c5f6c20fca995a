"""Runs the Python half of every scenario and records the traces; `cargo xtask conformance --record` calls it.

    python3 record.py [SUBJECT...]

Each scenario runs in a process of its own, forked, so that it may do what it likes to the thread's loop, the signals
and the policy. The traces go to SUBJECT.trace beside the scenarios. Ends with 1 if one differs from what was there.

The trace of a scenario that needs a newer Python than this one is kept as it stands: it was recorded by such a Python,
or, where it is marked `by rule`, written down from asyncio's documented rule and never recorded.
"""

import importlib
import logging
import os
import pathlib
import select
import signal
import sys
import warnings

sys.dont_write_bytecode = True

import scenario  # noqa: E402, as the line above is for this import

HERE = pathlib.Path(__file__).parent
TIME_LIMIT = 30


def record(function):
    """The trace of a scenario, as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.dup2(writer, sys.stdout.fileno())
        # What Python logs and warns of by itself is no part of a trace.
        logging.disable(logging.CRITICAL)
        warnings.simplefilter("ignore")
        scenario.play(function)
        # Without the clean-up of an interpreter's end, which would report what the scenario left behind.
        os._exit(0)
    os.close(writer)
    text, status = bytearray(), None
    while status is None:
        ready, _, _ = select.select([reader], [], [], TIME_LIMIT)
        if not ready:
            os.kill(child, signal.SIGKILL)
        piece = os.read(reader, 65536)
        text += piece
        if not piece:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(reader)
    if status != 0:
        sys.exit(f"{function.__module__}.{function.__name__} ended with {status}; its trace so far:\n{text.decode()}")
    return text.decode()


def read(path):
    """The sections of a trace file: name -> (remark, trace)."""
    sections, name = {}, None
    for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
        if line.startswith("== "):
            name, _, remark = line[3:].strip().partition(" ")
            sections[name] = [remark, ""]
        elif line.strip():
            sections[name][1] += line
    return sections


def subject(name):
    """Records one subject; the names of the scenarios whose traces have changed."""
    scenario.SCENARIOS.clear()
    importlib.import_module(name)
    path = HERE / f"{name}.trace"
    before, after, changed = read(path), {}, []
    for title, function in scenario.SCENARIOS.items():
        needs = "" if function.since == (3, 11) else "(since {}.{})".format(*function.since)
        if sys.version_info[:2] < function.since:
            if title not in before:
                sys.exit(f"{name}.{title} needs Python {needs} and has no trace")
            after[title] = before[title]
            continue
        trace = record(function)
        after[title] = [needs, trace]
        if title not in before or before[title][1] != trace:
            changed.append(f"{name}::{title}")
    changed += [f"{name}::{title} (gone)" for title in before if title not in after]
    sections = (f"== {title} {remark}".rstrip() + f"\n{trace}" for title, (remark, trace) in after.items())
    path.write_text("\n".join(sections))
    return changed


def main():
    if sys.version_info < (3, 11):
        sys.exit("the scenarios need Python 3.11 or later")
    subjects = sys.argv[1:] or sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("scenario", "record"))
    changed, count = [], 0
    for name in subjects:
        changed += subject(name)
        count += len(scenario.SCENARIOS)
    print(f"{count} scenarios recorded with Python {sys.version.split()[0]}")
    for title in changed:
        print(f"differs from what was recorded: {title}")
    sys.exit(1 if changed else 0)


main()
