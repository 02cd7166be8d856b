//! A real Slurm cluster in a private PID namespace, for tests, the demo and benchmarks.
