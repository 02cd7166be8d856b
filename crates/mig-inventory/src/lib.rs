//! The MIG leaves of this node, from NVML and the driver's proc and dev trees.
