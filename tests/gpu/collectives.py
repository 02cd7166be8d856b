"""One rank of tests/gpu/run: every collective over torch.distributed, verified element by element.

    collectives.py --rank R --ranks N --store FILE [--leaf R] [--busbw] [--max-bytes B] [--ops LIST]
    torchrun --nproc_per_node N collectives.py
    collectives.py --versions

Device 0 of this process is the rank's leaf. Numbers are small integers, so that sums of floats are
exact. Ends with `collectives: ok`, or with a traceback and a status other than 0.
"""

import argparse
import ctypes
import datetime
import os
import sys
import time

import torch
import torch.distributed as dist


def nccl_version():
    """Version of the libnccl.so.2 in this process, else of the one that torch was built with."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        paths = {line.split()[-1] for line in maps if "libnccl.so" in line}
    for path in sorted(paths):
        number = ctypes.c_int()
        if ctypes.CDLL(path).ncclGetVersion(ctypes.byref(number)) == 0:
            value = number.value
            return f"{value // 10000}.{value // 100 % 100}.{value % 100}"
    return ".".join(str(part) for part in torch.cuda.nccl.version())


def versions():
    """Two lines for the head of the report; 1 if there is no CUDA here."""
    if not torch.cuda.is_available():
        print(f"PyTorch {torch.__version__} finds no CUDA device")
        return 1
    print(f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}")
    print(f"NCCL {nccl_version()}")
    return 0


class Rank:
    """This process in the group: what it contributes, and what must come of it."""

    def __init__(self, rank, ranks, device):
        self.rank, self.ranks, self.device = rank, ranks, device

    def part(self, rank, count):
        """What a rank contributes; every element and every rank differs from its neighbours."""
        return (torch.arange(count) * 7 % 1021 + rank * 3).float()

    def own(self, count):
        return self.part(self.rank, count).to(self.device)

    def total(self, count):
        return sum(self.part(rank, count) for rank in range(self.ranks))

    def wrong_places(self, count):
        return torch.full((count,), -1.0, device=self.device)

    def check(self, what, got, expected):
        wrong = int((got.cpu() != expected).sum())
        if wrong:
            raise SystemExit(f"collectives: rank {self.rank}: {what}: {wrong} wrong elements of {got.numel()}")

    def all_reduce(self, count):
        data = self.own(count)
        dist.all_reduce(data)
        self.check("all_reduce", data, self.total(count))

    def reduce(self, count):
        data = self.own(count)
        dist.reduce(data, 0)
        if self.rank == 0:
            self.check("reduce", data, self.total(count))

    def broadcast(self, count):
        root = self.ranks - 1
        data = self.own(count)
        dist.broadcast(data, root)
        self.check("broadcast", data, self.part(root, count))

    def all_gather(self, count):
        parts = [self.wrong_places(count) for _ in range(self.ranks)]
        dist.all_gather(parts, self.own(count))
        for rank, part in enumerate(parts):
            self.check(f"all_gather of rank {rank}", part, self.part(rank, count))

    def reduce_scatter(self, count):
        got = self.wrong_places(count)
        dist.reduce_scatter(got, list(self.own(count * self.ranks).chunk(self.ranks)))
        mine = slice(self.rank * count, (self.rank + 1) * count)
        self.check("reduce_scatter", got, self.total(count * self.ranks)[mine])

    def all_to_all(self, count):
        got = self.wrong_places(count * self.ranks)
        dist.all_to_all_single(got, self.own(count * self.ranks))
        mine = slice(self.rank * count, (self.rank + 1) * count)
        expected = [self.part(rank, count * self.ranks)[mine] for rank in range(self.ranks)]
        self.check("all_to_all", got, torch.cat(expected))

    def send_recv(self, count):
        after, before = (self.rank + 1) % self.ranks, (self.rank - 1) % self.ranks
        got = self.wrong_places(count)
        sends = dist.P2POp(dist.isend, self.own(count), after)
        receives = dist.P2POp(dist.irecv, got, before)
        for work in dist.batch_isend_irecv([sends, receives]):
            work.wait()
        self.check("send_recv", got, self.part(before, count))

    def busbw(self, size):
        """GB/s of an all-reduce as nccl-tests counts it, of the slowest rank."""
        data = torch.zeros(size // 4, device=self.device)
        times = []
        for repetitions in (5, 20):
            dist.barrier()
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(repetitions):
                dist.all_reduce(data)
            torch.cuda.synchronize()
            times.append((time.perf_counter() - start) / repetitions)
        slowest = torch.tensor([times[-1]], device=self.device, dtype=torch.float64)
        dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
        return size / slowest.item() / 1e9 * 2 * (self.ranks - 1) / self.ranks


OPS = ["all_reduce", "reduce", "broadcast", "all_gather", "reduce_scatter", "all_to_all", "send_recv"]


def bound_to(leaf):
    """The rank must have been bound to its leaf, by the preload library or by `flexmig exec`."""
    found = {name: os.environ.get(name) for name in ("FLEXMIG_LEAF", "LOCAL_RANK")}
    if found != {"FLEXMIG_LEAF": str(leaf), "LOCAL_RANK": "0"}:
        raise SystemExit(f"collectives: not bound to leaf {leaf}: {found}")


def main():
    parser = argparse.ArgumentParser(description="One rank of tests/gpu/run.")
    parser.add_argument("--versions", action="store_true", help="print versions and stop")
    parser.add_argument("--rank", type=int, default=os.environ.get("RANK", "0"))
    parser.add_argument("--ranks", type=int, default=os.environ.get("WORLD_SIZE", "1"))
    parser.add_argument("--store", help="a file for the rendezvous, new in each run [torchrun's]")
    parser.add_argument("--leaf", type=int, help="fail unless the rank was bound to this leaf")
    parser.add_argument("--busbw", action="store_true", help="print the bus bandwidth of all-reduces")
    parser.add_argument("--max-bytes", type=int, default=4 << 20)
    parser.add_argument("--ops", default=",".join(OPS))
    parser.add_argument("--backend", default="nccl", help="gloo runs on the CPU, to test this file")
    args = parser.parse_args()
    if args.versions:
        return versions()
    if args.leaf is not None:
        bound_to(args.leaf)
    if args.backend == "nccl":
        torch.cuda.set_device(0)
    device = torch.device("cuda:0" if args.backend == "nccl" else "cpu")
    dist.init_process_group(
        args.backend,
        init_method="file://" + os.path.abspath(args.store) if args.store else "env://",
        rank=args.rank,
        world_size=args.ranks,
        timeout=datetime.timedelta(seconds=120),
    )
    rank = Rank(args.rank, args.ranks, device)
    sizes = [size for size in (4, 4000, 256 << 10, 4 << 20, 64 << 20) if size <= args.max_bytes]
    for name in args.ops.split(","):
        for size in sizes:
            getattr(rank, name)(size // 4)
        if args.rank == 0:
            print(f"collectives: {name}: {len(sizes)} sizes up to {sizes[-1]} B: 0 wrong", flush=True)
    if args.busbw:
        for size in (64 << 10, 1 << 20, 16 << 20, 64 << 20):
            busbw = rank.busbw(size)
            if args.rank == 0:
                print(f"busbw: all_reduce {size} B: {busbw:.2f} GB/s", flush=True)
    dist.barrier()
    print("collectives: ok", flush=True)
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
