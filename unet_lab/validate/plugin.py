"""A pytest plugin over nbval 0.11: it watches the kernel and writes one JSON line for each cell.

nbval alone waits out the whole time limit when a kernel has died, drops messages when a cell prints fast, keeps all output
in memory, and marks every cell after a timeout as expected to fail. A learner is to read what each cell did.
"""

from __future__ import annotations

import ast
import contextlib
import json
import queue
import sys
import time
from pathlib import Path

import pytest

# jsonschema, which nbval needs, would build a grammar of internationalised web addresses: seconds, and no notebook has any
sys.modules.setdefault("rfc3987_syntax", None)

import nbval.plugin  # noqa: E402
from nbval.kernel import RunningKernel  # noqa: E402

MOST_OUTPUTS = 2_000
"""Outputs kept of one cell; a loop that prints must not fill the memory."""

POLL_SECONDS = 0.1
QUIET_SECONDS = 1.0
"""No output for so long after the kernel's reply: there is none to come."""

TAIL_SECONDS = 10.0
"""How long the rest of a cell's output may take once the cell has ended or was interrupted."""

OWN_LINE = "__import__('unet_lab.validate.own_line', fromlist=['own_line']).own_line()"


class KernelDied(RuntimeError):
    """The kernel's process ended while a cell ran."""


class WatchedKernel(RunningKernel):
    """nbval's kernel that reads the outputs while it waits, notices its own end, and remembers how a cell ended."""

    deadline = float("inf")
    """Of all cells together, as time.monotonic() counts."""

    def __init__(self, *arguments, **options):
        self.forget()
        super().__init__(*arguments, **options)

    def forget(self) -> None:
        """Nothing is known yet of the cell that comes next."""
        self.reply: dict = {}  # the kernel's answer: "status", and of an error its "ename" and "evalue"
        self.timed_out = False
        self._cell = self._tail_ends = None
        self._waiting: list[dict] = []
        self._outputs = 0

    def execute_cell_input(self, *arguments, **options):
        self.forget()
        self._cell = super().execute_cell_input(*arguments, **options)
        return self._cell

    def await_reply(self, msg_id, timeout=None):
        ends = min(self.deadline, float("inf") if timeout is None else time.monotonic() + timeout)
        while not self._replied(msg_id, POLL_SECONDS):
            with contextlib.suppress(queue.Empty):
                while time.monotonic() < ends:
                    self._keep(self.kc.get_iopub_msg(timeout=0))
            if not self.km.is_alive():
                raise KernelDied
            if time.monotonic() > ends:
                self.timed_out = True
                raise queue.Empty

    def _replied(self, msg_id: str, seconds: float) -> bool:
        with contextlib.suppress(queue.Empty):
            message = self.kc.get_shell_msg(timeout=seconds)
            if message["parent_header"].get("msg_id") == msg_id:
                self.reply = message["content"]
        return bool(self.reply)

    def _keep(self, message: dict) -> None:
        if message["msg_type"] in ("stream", "display_data", "execute_result", "update_display_data"):
            self._outputs += 1
            if self._outputs > MOST_OUTPUTS:
                return
        self._waiting.append(message)

    def get_message(self, stream, timeout=None):
        if stream != "iopub" or self._cell is None:
            return super().get_message(stream, timeout=timeout)
        if self._tail_ends is None:
            self._tail_ends = time.monotonic() + TAIL_SECONDS
        while not self._waiting:
            try:
                self._keep(self.kc.get_iopub_msg(timeout=QUIET_SECONDS))
                quiet = False
            except queue.Empty:
                quiet = True
            late = time.monotonic() > self._tail_ends
            if (quiet or late) and self._replied(self._cell, 0):
                return (
                    self._idle()
                )  # the kernel drops messages, this one too, when a cell prints faster than it is read
            if late:
                raise queue.Empty
        return self._waiting.pop(0)

    def _idle(self) -> dict:
        return {"msg_type": "status", "parent_header": {"msg_id": self._cell}, "content": {"execution_state": "idle"}}

    def own_line(self) -> str:
        """The line of the notebook that the last error went through; empty where the kernel can't tell."""
        if not self.is_alive():
            return ""
        request = self.kc.execute("", silent=True, store_history=False, user_expressions={"line": OWN_LINE})
        ends = time.monotonic() + 5.0
        with contextlib.suppress(queue.Empty, KeyError, ValueError, SyntaxError):
            while time.monotonic() < ends:
                reply = self.kc.get_shell_msg(timeout=5.0)
                if reply["parent_header"].get("msg_id") == request:
                    answer = reply["content"]["user_expressions"]["line"]["data"]["text/plain"]
                    return ast.literal_eval(answer)
        return ""


class Recorder:
    """Writes what each cell did, and what the checks in it said."""

    def __init__(self, cells: Path, checks: Path):
        self._cells = cells.open("a", encoding="utf-8", buffering=1)
        self._checks, self._read = checks, 0

    def write(self, **entry: object) -> None:
        self._cells.write(json.dumps(entry) + "\n")

    def verdicts(self) -> list[dict]:
        """The lines that `check` has appended since the last call."""
        try:
            with self._checks.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except OSError:
            return []
        self._read += len(new)
        found = []
        for line in new.splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [verdict for verdict in found if isinstance(verdict, dict)]


def pytest_addoption(parser):
    group = parser.getgroup("unet-lab")
    group.addoption("--cells", type=Path, required=True, help="one JSON line for each cell goes here")
    group.addoption("--checks", type=Path, required=True, help="where check() writes")
    group.addoption("--total-seconds", type=float, default=float("inf"), help="for all cells together")


def pytest_configure(config):
    nbval.plugin.RunningKernel = WatchedKernel
    WatchedKernel.deadline = time.monotonic() + config.option.total_seconds
    config.stash[RECORDER] = Recorder(config.option.cells, config.option.checks)


RECORDER = pytest.StashKey[Recorder]()


def pytest_collection_modifyitems(items):
    for item in items:
        item.options.clear()  # a comment or tag for nbval, such as NBVAL_SKIP, must not pass a cell that was not run


def pytest_runtest_setup(item):
    if time.monotonic() > WatchedKernel.deadline:
        pytest.exit("out of time", returncode=1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    recorder, error = item.config.stash[RECORDER], call.excinfo and call.excinfo.value
    if call.when == "setup":
        if error is None:
            item.parent.kernel.forget()
            recorder.write(cell=item.cell_num, status="started", kernel=_process(item.parent.kernel))
        elif not isinstance(error, pytest.exit.Exception):
            recorder.write(cell=item.cell_num, status="no kernel", error=type(error).__name__, text=_first_line(error))
    elif call.when == "call":
        item.parent.timed_out = False  # else nbval expects every later cell to fail
        entry = _entry(item, error)
        recorder.write(cell=item.cell_num, checks=recorder.verdicts(), **entry)
    return report


def _entry(item, error: BaseException | None) -> dict:
    kernel = item.parent.kernel
    if isinstance(error, KernelDied):
        return {"status": "kernel died"}
    if kernel.timed_out:
        return {"status": "too slow", "line": kernel.own_line()}
    status = kernel.reply.get("status")
    if status == "ok" and error is None:
        return {"status": "ok"}
    if status == "error":  # also where the learner's code has switched off the display of errors
        name, text = (str(kernel.reply.get(key, "")) for key in ("ename", "evalue"))
        return {"status": "crashed", "error": name, "text": _first_line(text), "line": kernel.own_line()}
    if status is None:
        return {"status": "not run"}  # nbval found the kernel dead
    return {"status": "crashed", "error": type(error).__name__, "text": _first_line(error)}


def _first_line(error: object) -> str:
    return str(error).strip().split("\n")[0][:300]


def _process(kernel: WatchedKernel) -> int:
    return getattr(getattr(getattr(kernel, "km", None), "provisioner", None), "pid", 0) or 0
