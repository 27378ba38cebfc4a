"""Jobs for worker processes, in a module that these can import."""

import dataclasses
import os
import signal
import time

from cvrl_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class Job:
    """Performs its steps, one for each video, and returns the number of its process.

    A step is "fine", "hang", "slow" (progress for 2 s), "die" (by signal 11) or "die once";
    `log` gets a line for each video that is begun.
    """

    log: str
    steps: tuple[str, ...]
    left_out: tuple[tuple[int, str, bool], ...] = ()

    def run(self, report):
        given_up = {video for video, _, final in self.left_out if final}
        for video, step in enumerate(self.steps):
            report.start(video)
            with open(self.log, "a") as file:
                file.write(f"{video} {step}\n")
            if video not in given_up:
                self._do(step, report)
            report.decoded()
            report.done(10, video in given_up)
        return os.getpid(), self.left_out

    def _do(self, step, report):
        if step == "hang":
            time.sleep(600)
        elif step == "slow":
            for _ in range(40):
                time.sleep(0.05)
                report.progress()
        elif step == "die" or step == "die once" and not self.left_out:
            os.kill(os.getpid(), signal.SIGSEGV)
        elif step == "refuse":
            raise InputError("no space for it")
        elif step == "bug":
            raise ZeroDivisionError("seven by zero")

    def after(self, video, reason, final):
        final = final or any(video == other for other, *_ in self.left_out)
        return dataclasses.replace(self, left_out=(*self.left_out, (video, reason, final)))


class BetweenVideos:
    """Ends its process before its first video."""

    def run(self, report):
        os._exit(3)
