//! libnvidia-ml.so.1 for nodes described in TOML, with the matching dev and proc trees.
