"""Programs that share the cores: each one a process of its own, started when what it needs is finished."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.2
"""Time between looks at the running processes in [s]."""
END_S = 60.0
"""Time that a process has to end after it was told to, in [s]."""
LOG_TAIL = 5
"""Lines of its log that are shown of a job that failed."""


@dataclass(frozen=True, eq=False)
class Job:
    """A program to be run to its end.

    Attributes:
        name: What it is called in messages; its log has the same name.
        command: Arguments of this Python when it is started or goes on.
        finished: Whether it has done its work, now or in an earlier session.
        needs: Another job that must be finished before.
    """

    name: str
    command: Callable[[], Sequence[str]]
    finished: Callable[[], bool]
    needs: "Job | None" = None


@dataclass(frozen=True)
class Failure:
    """Why a job is not finished."""

    job: Job
    reason: str


class JobRunner:
    """Runs jobs, some at a time; one that fails does not stop the others.

    Args:
        logs: Folder of what the programs print.
        workers: Processes at a time.
    """

    def __init__(self, logs: Path, workers: int) -> None:
        self._logs, self._workers = logs, workers
        self._running: dict[Job, subprocess.Popen[bytes]] = {}
        self.failures: list[Failure] = []

    def run(self, jobs: Sequence[Job]) -> list[Failure]:
        """Run all that are not finished yet; returns those that failed."""
        self._logs.mkdir(parents=True, exist_ok=True)
        waiting = [job for job in jobs if not job.finished()]
        left = ", ".join(job.name for job in waiting) or "nothing"
        print(f"{len(jobs) - len(waiting)} of {len(jobs)} programs are finished; left: {left}", flush=True)  # fmt: skip
        try:
            while waiting or self._running:
                for job in [job for job in waiting if self._hopeless(job)]:
                    waiting.remove(job)
                while len(self._running) < self._workers and (job := self._next(waiting)):
                    waiting.remove(job)
                    self._start(job)
                time.sleep(POLL_S)
                for job in [job for job, process in self._running.items() if _ended(process)]:
                    self._end(job)
                    self._say_left(waiting)
        finally:
            self._stop()
        return self.failures

    def _next(self, waiting: Sequence[Job]) -> Job | None:
        """The first job that has what it needs."""
        return next((j for j in waiting if j.needs is None or j.needs.finished()), None)

    def _hopeless(self, job: Job) -> bool:
        """Note a job that needs one that has failed."""
        lost = any(failure.job is job.needs for failure in self.failures)
        if lost and job.needs is not None:
            self.failures.append(Failure(job, f"it needs {job.needs.name}, which failed"))
        return lost

    def _start(self, job: Job) -> None:
        print(f"start    {job.name}", flush=True)
        with self._log(job).open("ab") as log:
            self._running[job] = subprocess.Popen(
                [sys.executable, "-m", *job.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we tell them to end
            )

    def _end(self, job: Job) -> None:
        status = self._running.pop(job).returncode
        if status == 0 and job.finished():
            print(f"done     {job.name}", flush=True)
            return
        tail = self._log(job).read_text(errors="replace").splitlines()[-LOG_TAIL:]
        said = "\n    ".join(line.rpartition("\r")[2] for line in tail)
        self.failures.append(
            Failure(job, f"exit status {status}, see {self._log(job)}:\n    {said}")
        )
        print(f"FAILED   {job.name}: {self.failures[-1].reason}", flush=True)

    def _say_left(self, waiting: Sequence[Job]) -> None:
        running = ", ".join(job.name for job in self._running) or "none"
        print(f"left     {len(waiting)} waiting; running: {running}", flush=True)

    def _log(self, job: Job) -> Path:
        return self._logs / f"{job.name}.log"

    def _stop(self) -> None:
        """End what still runs, as Ctrl-C does: each keeps what it has finished."""
        for process in self._running.values():
            process.terminate()
        for job, process in self._running.items():
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                print(f"{job.name} does not end and is killed.", flush=True)
                process.kill()
                process.wait()
        self._running.clear()


def _ended(process: "subprocess.Popen[bytes]") -> bool:
    return process.poll() is not None
