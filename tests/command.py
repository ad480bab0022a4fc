"""Run the command without a process for each call: in the process of the tests, or many in one process."""

import io
import itertools
import json
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from zeroloss import cli

#: A program that runs commands one after the other, each with its own files for both streams.
IN_TURN = """
import json, os, sys
from zeroloss.cli import main
for number, (encoding, words) in enumerate(json.loads(sys.argv[1])):
    for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
        file = os.open(f"{sys.argv[2]}/{number}.{name}", os.O_WRONLY | os.O_CREAT)
        os.dup2(file, stream.fileno())
        os.close(file)
        if encoding:
            stream.reconfigure(encoding=encoding, errors="strict")
    try:
        main(words)
    except SystemExit as ended:
        status = ended.code
    sys.stdout.flush()
    with open(f"{sys.argv[2]}/{number}.status", "w") as file:
        file.write(str(status))
"""


def run_command(*words):
    """Run the command; return its exit status and both outputs, as `subprocess.run` does."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    printed = (stream.buffer.getvalue().decode(stream.encoding) for stream in (out, err))
    return subprocess.CompletedProcess(words, ended.value.code, *printed)


def run_in_turn(commands, folder, encodings=()):
    """Run commands in one process; return the exit status and both outputs of each.

    ``encodings`` has an encoding of both streams for each command; by default it is that of the environment.
    """
    folder.mkdir()
    words = [[str(word) for word in command] for command in commands]
    turns = json.dumps(list(itertools.zip_longest(encodings, words)))
    subprocess.run([sys.executable, "-c", IN_TURN, turns, folder], check=True)
    results = []
    for number, command in enumerate(commands):
        status, out, err = ((folder / f"{number}.{name}").read_bytes() for name in ("status", "out", "err"))
        results.append(subprocess.CompletedProcess(command, int(status), out, err))
    return results
