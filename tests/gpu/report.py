"""What tests/gpu/run.py prints, and the MPS daemon that bandwidths need."""

import os
import shutil
import subprocess
import time


def last_line(text):
    """The last line that is not empty."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def nccl_version(versions):
    """(2, 28, 9), from the line of collectives.py --versions."""
    line = next(line for line in versions.splitlines() if line.startswith("NCCL "))
    return tuple(int(part) for part in line.split()[1].split(".")[:3])


def head(gpu, versions, mps):
    """Where these results come from."""
    print(f"GPU: {gpu.name}, {gpu.uuid}, {gpu.domain:08x}:{gpu.place}")
    print(f"driver: {gpu.driver}")
    print(versions.strip())
    space = subprocess.run(["df", "-h", "/dev/shm"], capture_output=True, text=True, check=False)
    print((space.stdout or space.stderr).strip())
    print(f"MPS: {mps.why or 'of our own, for bandwidths'}")
    print(time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), flush=True)


def busbw(text):
    for line in text.splitlines():
        if line.startswith("busbw: "):
            print(f"  {line}")


class Tally:
    """Counts and prints results."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def skip(self, name, why):
        self.skipped += 1
        print(f"SKIP {name}: {why}", flush=True)

    def count(self, name, why, texts):
        if not why:
            self.passed += 1
            print(f"PASS {name}", flush=True)
            return
        self.failed += 1
        print(f"FAIL {name}: {why}")
        for rank, text in enumerate(texts):
            for line in text.splitlines()[-15:]:
                print(f"  {rank}: {line}")
        print(flush=True)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed else 0


class Mps:
    """An MPS daemon of our own: with it ranks run at the same time on the GPU; without it they take
    turns, and a bandwidth says nothing. It needs no setting of the GPU, and ends with the script."""

    def __init__(self, uuid, pipe):
        self.pipe, self.why = pipe, None
        self.env = dict(os.environ, CUDA_VISIBLE_DEVICES=uuid)
        self.env |= {"CUDA_MPS_PIPE_DIRECTORY": str(pipe), "CUDA_MPS_LOG_DIRECTORY": str(pipe)}

    def __enter__(self):
        if not shutil.which("nvidia-cuda-mps-control"):
            self.why = "nvidia-cuda-mps-control is not installed"
            return self
        self.pipe.mkdir()
        done = self.control(["-d"], None)
        if done is None or done.returncode != 0:
            self.why = "MPS does not start: " + last_line(done.stdout if done else "no answer in 20 s")
        return self

    def __exit__(self, *_):
        if not self.why:
            self.control([], "quit\n")

    def control(self, words, text):
        """Its answer, or None if there is none in 20 s."""
        # The daemon keeps its stdout: a file, not a pipe that would stay open.
        with open(self.pipe / "control.log", "w+", encoding="utf-8") as log:
            try:
                done = subprocess.run(
                    ["nvidia-cuda-mps-control", *words],
                    env=self.env,
                    input=text,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=20,
                    check=False,
                )
            except (subprocess.TimeoutExpired, OSError):
                return None
            log.seek(0)
            done.stdout = log.read()
            return done
