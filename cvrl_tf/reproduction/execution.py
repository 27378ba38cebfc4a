"""Executes the runs of a plan, one at a time; what was done, and what was stopped, is resumed.

Below the directory of the user:

runs/          a directory for each pre-training
evaluations/   results of the evaluations, and the runs that these train
ids/           lists of the videos that are used, where not all are
records/       for each run its command, its state, its time; and the version of this package
logs/          what the commands print
settings.json  data and flags, which are the same for all tables of a directory
lock           held while a run is executed
"""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

import cvrl_tf
from cvrl_tf import files
from cvrl_tf.errors import STOPPED_STATUS, InputError, Stopped
from cvrl_tf.reproduction.plan import Plan, Run
from cvrl_tf.training.signals import StopRequest

STARTED, DONE, FAILED = "started", "done", "failed"
# Runs a command with an open log, and a lock to inherit; returns its exit status.
Runner = Callable[[Run, IO[bytes], IO[str] | None], int]
POLL_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class State:
    """What became of a run.

    Attributes:
      state: STARTED, DONE, FAILED, or "" for a run that was not started.
      reason: why it failed.
      seconds: of its last start.
    """

    state: str = ""
    reason: str = ""
    seconds: float = 0.0


def states(plan: Plan) -> dict[str, State]:
    """The states of all runs of a plan, by name, from the files of its directory.

    An evaluation is done when its result is there, whoever ran its command. Any run is done when
    all that needs it is done.

    Raises:
      InputError: a run is of another version of this package or has another command, or its record
        is damaged.
    """
    found = {name: _state(plan, run) for name, run in plan.runs.items()}
    for name in reversed(list(plan.runs)):
        needing = [other.name for other in plan.runs.values() if name in other.needs]
        if needing and all(found[other].state == DONE for other in needing):
            found[name] = dataclasses.replace(found[name], state=DONE)
    return found


def _state(plan: Plan, run: Run) -> State:
    record = _read_record(plan, run)
    if run.result and os.path.exists(run.result):
        if run.result.endswith(".json"):
            _check_version(run.result, files.read_json(run.result).get("version"))
        return State(DONE, seconds=record.get("seconds", 0.0))
    state = record.get("state", "")
    if run.result and state == DONE:  # its result was removed
        return State()
    return State(state, record.get("reason", ""), record.get("seconds", 0.0))


def _record_path(plan: Plan, run: Run) -> str:
    return os.path.join(plan.settings.directory, "records", f"{run.name.replace('/', '.')}.json")


def log_path(plan: Plan, run: Run) -> str:
    """The file with what the command of a run prints."""
    return os.path.join(plan.settings.directory, "logs", f"{run.name.replace('/', '.')}.txt")


def _read_record(plan: Plan, run: Run) -> Mapping[str, Any]:
    path = _record_path(plan, run)
    if not os.path.exists(path):
        return {}
    try:
        with files.reading(path):
            record = files.read_json(path)
        version, command = record["version"], record["command"]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is damaged ({error}): remove it; {run.name} is then run again."
        ) from None
    _check_version(path, version)
    if command != run.shell:
        raise InputError(
            f"{path} is of another command, {command} (now {run.shell}): name another directory"
            f" with --output_dir, or remove this file and {run.output} to run it again."
        )
    return record


def _check_version(path: str, version: object) -> None:
    if version != cvrl_tf.__version__:
        raise InputError(
            f"{path} is of version {version} of this package (now {cvrl_tf.__version__}), and"
            " figures of several versions are not compared: name another directory with"
            " --output_dir."
        )


def check_settings(plan: Plan) -> None:
    """Writes the settings of a directory, or compares them with those that are there.

    Raises:
      InputError: its runs are of other data, another scale or other flags.
    """
    settings, path = plan.settings, os.path.join(plan.settings.directory, "settings.json")
    values = {
        "scale": plan.table.scale,
        "pretrain_flags": list(settings.pretrain_flags),
        "data": dict(settings.data),
    }
    if os.path.exists(path):
        with files.reading(path):
            before = files.read_json(path)
        values["data"] = before["data"] | values["data"]  # another table may need more
        differing = [
            f"{name}={before[name]} (now {values[name]})"
            for name in values
            if name != "data" and before[name] != values[name]
        ]
        differing += [
            f"{name}={before['data'][name]} (now {value})"
            for name, value in settings.data.items()
            if before["data"].get(name, value) != value
        ]
        if differing:
            raise InputError(
                f"{settings.directory} has runs with {', '.join(differing)}: name another"
                " directory with --output_dir."
            )
    files.write_json(path, values)


def execute(
    plan: Plan, report: Callable[[Mapping[str, State]], Any], runner: Runner | None = None
) -> dict[str, State]:
    """Executes what is not done yet. A run that fails does not stop the others.

    Args:
      plan: of a table.
      report: called after each evaluation with the states so far.
      runner: of commands; a process of its own for each by default.

    Returns:
      The states of all runs.

    Raises:
      InputError: as `states`, or another process executes runs in the directory.
      Stopped: a signal stopped a run.
    """
    directory = plan.settings.directory
    for name in ("runs", "evaluations", "ids", "records", "logs"):
        os.makedirs(os.path.join(directory, name), exist_ok=True)
    lock = os.path.join(directory, "lock")
    with files.locked(lock, f"reproducing in --output_dir={directory}") as file:
        check_settings(plan)
        found = states(plan)
        todo = [run for name, run in plan.runs.items() if found[name].state != DONE]
        print(f"{len(plan.runs)} runs, {len(plan.runs) - len(todo)} are done", flush=True)
        for number, run in enumerate(todo, 1):
            failed = [name for name in run.needs if found[name].state != DONE]
            if failed:
                found[run.name] = State(FAILED, f"{failed[0]} failed, which it needs")
            else:
                print(f"[{number} of {len(todo)}] {run.shell}", flush=True)
                found[run.name] = _execute(plan, run, runner or _in_own_process, file)
            if run.result.endswith(".json"):
                report(found)
        return found


def _execute(plan: Plan, run: Run, runner: Runner, lock: IO[str] | None) -> State:
    record, log = _record_path(plan, run), log_path(plan, run)
    about = {"version": cvrl_tf.__version__, "command": run.shell}
    files.write_json(record, about | {"state": STARTED})
    start = time.monotonic()
    with open(log, "ab") as output:
        status = runner(run, output, lock)
    seconds = round(time.monotonic() - start, 1)
    if status == STOPPED_STATUS:
        raise Stopped(f"{run.name} was stopped; the same command resumes it.")
    reason = "" if status == 0 else _reason(log, status)
    if status == 0 and run.result and not os.path.exists(run.result):
        reason = f"it did not write {run.result}"
    state = State(FAILED if reason else DONE, reason, seconds)
    files.write_json(record, about | dataclasses.asdict(state))
    print(f"  {state.state} after {seconds / 60:.1f} minutes" + (f": {reason}" if reason else ""))
    return state


def _reason(log: str, status: int) -> str:
    """The error that a command printed last."""
    with open(log, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    said = errors[-1:] or lines[-1:] or ["it printed nothing"]
    return f"exit status {status}: {said[0]} (log: {log})"


def _in_own_process(run: Run, log: IO[bytes], lock: IO[str] | None) -> int:
    """Runs a command in a process of its own, which gets one SIGTERM when this one is to stop."""
    command = [sys.executable, "-m", run.module, *run.arguments]
    kept = (lock.fileno(),) if lock else ()  # so that no other run starts if this process is killed
    stopped = False
    with StopRequest("stopping the command that is running.") as stop:
        # A session of its own: the signals of the terminal reach this process only.
        process = subprocess.Popen(
            command, stdout=log, stderr=log, pass_fds=kept, start_new_session=True
        )
        while process.poll() is None:
            if stop.received and not stopped:
                process.terminate()
                stopped = True
            time.sleep(POLL_SECONDS)
    return STOPPED_STATUS if stop.received else process.returncode
