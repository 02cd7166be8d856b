#!/usr/bin/env python3
"""FlexMIG's runtime modes on one GPU without MIG.

Several ranks on one GPU meet the same check in NCCL as ranks on leaves of one GPU. Each case starts
ranks that run collectives.py in the environment that gres/flexmig would give them, verifies every
element, and looks in NCCL's log for the transport that it took. See README.md here. No setting of
the GPU is changed.

Exit status: 0 all passed or were skipped, 1 a case failed, 2 usage, 77 nothing can run here.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import report

HERE = Path(__file__).resolve().parent
MODES = ["baseline", "relabel-shm", "relabel-p2p", "net", "native"]
# What NCCL's log must show between ranks, and nothing else.
VIA = {"relabel-shm": "SHM", "relabel-p2p": "P2P/CUMEM", "native": "P2P/CUMEM", "net": "NET/FlexMIG/"}
# How NCCL refuses ranks that share a GPU, before 2.31 and from then on.
REFUSALS = ("Duplicate GPU detected", "Multiple Ranks are using the same GPU")
NATIVE_SINCE = (2, 31)
SKIPPED = 77


class Gpu:
    """The first GPU, as nvidia-smi names it."""

    def __init__(self, line):
        fields = [field.strip() for field in line.split(",")]
        self.uuid, bus_id, self.mig, self.name, self.driver = fields
        domain, self.place = bus_id.lower().split(":", 1)
        self.domain = int(domain, 16)

    def uuids(self, ranks):
        """FLEXMIG_UUIDS of a job: the same device for every rank."""
        return ",".join([self.uuid] * ranks)

    def bus_ids(self, ranks):
        """FLEXMIG_BUS_IDS: rank N as if it had the leaf of GPU instance N (design: synthetic bus id)."""
        low = self.domain & 0xFF
        return ",".join(f"{0x8000 | gi << 11 | low:08x}:{self.place}" for gi in range(ranks))


class Build:
    """What `make build` left."""

    def __init__(self, folder):
        self.preload = folder / "lib/libflexmig_preload.so"
        self.plugin = folder / "lib/libnccl-net-flexmig.so"
        self.flexmig = folder / "bin/flexmig"

    def missing(self):
        files = (self.preload, self.plugin, self.flexmig)
        return next((path for path in files if not path.is_file()), None)


def mode_variables(mode, build):
    """What gres/flexmig sets (crates/core/src/nccl/variables.rs), where there is no topology file."""
    every = {"ENV_PLUGIN": build.plugin, "NVLS_ENABLE": 0, "MNNVL_ENABLE": 0}
    shared = every | {"MULTI_RANK_GPU_ENABLE": 1, "IGNORE_DISABLED_P2P": 1}
    values = {
        "baseline": {},
        "native": shared | {"MAX_CTAS": 8},
        "relabel-shm": shared | {"P2P_DISABLE": 1, "CUMEM_ENABLE": 0, "CUMEM_HOST_ENABLE": 0},
        "relabel-p2p": shared
        | {"P2P_LEVEL": "SYS", "CUMEM_ENABLE": 1, "CUMEM_HOST_ENABLE": 0, "MAX_CTAS": 8},
        "net": every
        | {"CUMEM_ENABLE": 0, "CUMEM_HOST_ENABLE": 0, "NET_PLUGIN": build.plugin, "NET": "FlexMIG"},
    }[mode]
    return {f"NCCL_{name}": str(value) for name, value in values.items()}


def rank_environment(mode, ranks, rank, gpu, build, nccl):
    """What is set for a rank beside what is there; as torchrun would start it in a job."""
    env = {"RANK": rank, "WORLD_SIZE": ranks, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": ranks}
    env |= {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,ENV,NET,P2P,SHM"}
    # Ranks may have to take turns on the GPU: no more channels than needed, and a small /dev/shm does.
    env |= {"NCCL_MAX_NCHANNELS": 2, "NCCL_SOCKET_IFNAME": "lo"}
    preloads = [nccl] if nccl else []
    if mode == "baseline":
        env["CUDA_VISIBLE_DEVICES"] = gpu.uuid
    else:
        uuids = gpu.uuids(ranks)
        env |= {"CUDA_VISIBLE_DEVICES": uuids, "FLEXMIG_UUIDS": uuids}
        env |= {"FLEXMIG_BUS_IDS": gpu.bus_ids(ranks), "FLEXMIG_MODE": mode, "FLEXMIG_LOG": "info"}
        # FLEXMIG_NCCL_SET stays unset: so the env plugin takes back nothing of what a case sets.
        env |= mode_variables(mode, build)
    if mode == "net":
        env["NCCL_HOSTID"] = f"{os.uname().nodename}-{rank}"
    elif mode != "baseline":
        preloads.insert(0, build.preload)
    if preloads:
        env["LD_PRELOAD"] = ":".join(str(path) for path in preloads)
    return {name: str(value) for name, value in env.items()}


def clean_environment():
    """This process's, without what would decide a case."""
    ours = re.compile(r"NCCL_|TORCH_NCCL_|FLEXMIG_|SLURM_|OMPI_|PMI|LD_PRELOAD$|CUDA_VISIBLE_DEVICES$")
    return {name: value for name, value in os.environ.items() if not ours.match(name)}


class Bench:
    """Starts ranks and keeps what they print."""

    def __init__(self, args, gpu, build, work):
        self.args, self.gpu, self.build, self.work = args, gpu, build, work

    def run(self, name, mode, ranks, extra=(), mps=None):
        """Statuses of the ranks, None for one that was stopped, and their output."""
        store = self.work / f"{name}.store"
        logs = [self.work / f"{name}.{rank}.log" for rank in range(ranks)]
        processes = []
        for rank, log in enumerate(logs):
            env = clean_environment()
            env |= rank_environment(mode, ranks, rank, self.gpu, self.build, self.args.nccl)
            if mps:
                env["CUDA_MPS_PIPE_DIRECTORY"] = str(mps)
            words = [self.args.python, str(HERE / "collectives.py")]
            words += ["--rank", str(rank), "--ranks", str(ranks), "--store", str(store), *extra]
            if mode == "net":
                # Without the preload library this binds the rank.
                words = [str(self.build.flexmig), "exec", "--", *words]
            if mode != "baseline":
                words += ["--leaf", str(rank)]
            with open(log, "wb") as output:
                processes.append(
                    subprocess.Popen(words, env=env, stdout=output, stderr=subprocess.STDOUT)
                )
        statuses = wait(processes, self.args.timeout)
        texts = [log.read_text(encoding="utf-8", errors="replace") for log in logs]
        return statuses, texts


def wait(processes, seconds):
    """The statuses; None if a process was still there at the end, or 20 s after another failed."""
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            statuses = [process.poll() for process in processes]
            if all(status is not None for status in statuses):
                break
            if any(status for status in statuses):
                end = min(end, time.monotonic() + 20)
            time.sleep(0.1)
        return [process.poll() for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def judge(mode, ranks, statuses, texts):
    """Why a case failed, or None."""
    whole = "\n".join(texts)
    if mode == "baseline":
        if any(refusal in whole for refusal in REFUSALS) and any(statuses):
            return None
        return "NCCL did not refuse ranks that share a GPU: the other cases show nothing"
    for rank, (status, text) in enumerate(zip(statuses, texts)):
        if status is None:
            return f"rank {rank} was still running at the end"
        if status != 0 or "collectives: ok" not in text:
            return f"rank {rank} ended with status {status}: {report.last_line(text)}"
    vias = set(re.findall(r"Channel .* -> .* via (\S+)", whole))
    if not vias or not all(via.startswith(VIA[mode]) for via in vias):
        return f"NCCL went via {', '.join(sorted(vias)) or 'nothing that it says'}, not {VIA[mode]}"
    if mode.startswith("relabel"):
        silent = [rank for rank, text in enumerate(texts) if f"relabelled: leaf {rank} is" not in text]
        if silent:
            return f"rank {silent[0]} of {ranks} was not relabelled"
    elif "relabelled: leaf" in whole:
        return "a rank was relabelled"
    return None


def first_gpu(smi):
    """The GPU, or why there is none."""
    query = "--query-gpu=uuid,pci.bus_id,mig.mode.current,name,driver_version"
    try:
        done = subprocess.run(
            [smi, query, "--format=csv,noheader"], capture_output=True, text=True, timeout=60, check=True
        )
        gpu = Gpu(done.stdout.splitlines()[0])
    except FileNotFoundError:
        return None, f"no NVIDIA GPU here: {smi} is not installed"
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return None, f"no NVIDIA GPU here: {smi} lists none"
    if gpu.mig == "Enabled":
        return None, "GPU 0 has MIG enabled: docs/hardware.md says what to run on leaves"
    return gpu, None


def versions(args, gpu):
    """PyTorch's two lines, or why it is of no use here."""
    env = clean_environment() | {"CUDA_VISIBLE_DEVICES": gpu.uuid}
    if args.nccl:
        env["LD_PRELOAD"] = str(args.nccl)
    command = [args.python, str(HERE / "collectives.py"), "--versions"]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=args.timeout)
    except subprocess.TimeoutExpired:
        return None, f"{args.python} did not import torch within {args.timeout} s"
    except OSError as error:
        return None, f"{args.python}: {error.strerror}: set --python"
    if done.returncode != 0:
        why = report.last_line(done.stdout) or report.last_line(done.stderr)
        return None, f"{args.python} has no PyTorch that can use the GPU: {why}"
    return done.stdout, None


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES, help="[all]")
    parser.add_argument(
        "--ranks", nargs="+", type=int, choices=range(2, 17), default=[2, 4], metavar="N", help="[2 4]"
    )
    parser.add_argument("--timeout", type=int, default=180, help="seconds for each case [180]")
    parser.add_argument("--build", type=Path, default=HERE.parent.parent / "build", help="[build]")
    parser.add_argument("--nccl", type=Path, help="a libnccl.so.2 to use in place of PyTorch's")
    parser.add_argument("--python", default=sys.executable, help="with PyTorch [this one]")
    parser.add_argument("--smi", default="nvidia-smi", help="[nvidia-smi]")
    parser.add_argument("--logs", type=Path, help="keep the ranks' output in this folder")
    parser.add_argument("--dry-run", action="store_true", help="print what is set for each rank, run nothing")
    return parser.parse_args()


def dry_run(args, gpu, build):
    for mode in args.modes:
        for ranks in args.ranks:
            for rank in range(ranks):
                env = rank_environment(mode, ranks, rank, gpu, build, args.nccl)
                print(f"{mode}, rank {rank} of {ranks}:", *(f"{n}={v}" for n, v in sorted(env.items())))


def main():
    args = arguments()
    gpu, why = first_gpu(args.smi)
    build = Build(args.build.resolve())
    if not why and args.dry_run:
        dry_run(args, gpu, build)
        return 0
    if not why and build.missing():
        why = f"{build.missing()} is missing: run make build"
    if not why:
        torch, why = versions(args, gpu)
    if why:
        print(f"tests/gpu: skipped: {why}", file=sys.stderr)
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="flexmig-gpu-") as folder:
        work = Path(folder)
        try:
            with report.Mps(gpu.uuid, work / "mps") as mps:
                report.head(gpu, torch, mps)
                return cases(args, Bench(args, gpu, build, work), report.nccl_version(torch), mps)
        finally:
            if args.logs:
                args.logs.mkdir(parents=True, exist_ok=True)
                for log in work.glob("*.log"):
                    shutil.copy(log, args.logs)


def cases(args, bench, nccl, mps):
    """Runs and judges all cases; the exit status."""
    tally = report.Tally()
    for mode in args.modes:
        for ranks in args.ranks:
            name = f"{mode}-{ranks}"
            if mode == "native" and nccl < NATIVE_SINCE:
                found = ".".join(map(str, nccl))
                tally.skip(name, f"NCCL {found} does not support it; 2.31 and later do: see --nccl")
                continue
            statuses, texts = bench.run(name, mode, ranks)
            why = judge(mode, ranks, statuses, texts)
            tally.count(name, why, texts)
            if why or mode == "baseline":
                continue
            if mps.why:
                print(f"  busbw: not reported: {mps.why}")
                continue
            # Once more, at the same time on the GPU: only then is a bandwidth one.
            extra = ["--ops", "all_reduce", "--busbw"]
            statuses, texts = bench.run(f"{name}-mps", mode, ranks, extra, mps.pipe)
            why = judge(mode, ranks, statuses, texts)
            tally.count(f"{name}-mps", why, texts)
            if not why:
                report.busbw(texts[0])
    return tally.end()


if __name__ == "__main__":
    sys.exit(main())
