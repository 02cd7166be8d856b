//! Raw and safe FFI to Slurm 22.05 to 26.05: exported functions, layouts per release, logging, the panic fence, the release check.
