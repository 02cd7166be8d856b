"""Times torch.distributed's gloo all-reduce: sum of floats. Run by ../src/allreduce.rs.

    python3 gloo_allreduce.py RANKS BYTES

Starts RANKS processes that stay, as importing torch takes longer than the measurement. Prints one
line of JSON when they are ready, and one for each line on stdin: the time of an operation on the
slowest rank, and the wrong elements of a sum of known data.
"""

import json
import os
import subprocess
import sys
import tempfile
import time


def rank_main(rank, ranks, size, store):
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=ranks)
    count = size // 4
    known = torch.arange(count) % 1021
    data = torch.zeros(count)

    def operations(times):
        dist.barrier()
        start = time.perf_counter()
        for _ in range(times):
            dist.all_reduce(data)
        slowest = torch.tensor([(time.perf_counter() - start) / times], dtype=torch.float64)
        dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
        return slowest.item()

    def say(**what):
        if rank == 0:
            print(json.dumps(what), flush=True)

    say(version="PyTorch " + torch.__version__)
    while True:
        # Rank 0 waits for a line; the others sleep in the broadcast.
        go = torch.zeros(1)
        if rank == 0:
            go[0] = 1.0 if sys.stdin.readline() else 0.0
        dist.broadcast(go, 0)
        if go.item() == 0.0:
            return
        data.zero_()
        operations(2)
        once = operations(2)
        taken = operations(max(4, int(0.2 / once)))
        data.copy_(known + rank)
        dist.all_reduce(data)
        wrong = (data != (ranks * known + ranks * (ranks - 1) // 2)).sum().to(torch.float64).view(1)
        dist.all_reduce(wrong)
        say(time_us=taken * 1e6, errors=int(wrong.item()))


def main():
    numbers = [int(word) for word in sys.argv[1:3]]
    if len(sys.argv) == 5:
        return rank_main(*numbers, int(sys.argv[3]), sys.argv[4])
    if len(sys.argv) != 3:
        sys.exit("usage: gloo_allreduce.py RANKS BYTES")
    ranks, size = numbers
    env = dict(os.environ, GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS="1")
    with tempfile.TemporaryDirectory() as folder:
        store = os.path.join(folder, "store")
        processes = []
        for rank in range(ranks):
            command = [sys.executable, __file__, str(rank), str(ranks), str(size), store]
            stdin = None if rank == 0 else subprocess.DEVNULL
            processes.append(subprocess.Popen(command, stdin=stdin, env=env))
        sys.exit(max(process.wait() != 0 for process in processes))


if __name__ == "__main__":
    main()
