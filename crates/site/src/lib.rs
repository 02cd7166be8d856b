//! The files an administrator writes (flexmig.toml, slurm.conf, layout files): where they are found, and reading them.
