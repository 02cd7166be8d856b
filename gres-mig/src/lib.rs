//! gres/flexmig, the plugin that slurmd, slurmstepd and slurmctld load.
