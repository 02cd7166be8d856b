//! job_submit/flexmig, the plugin that slurmctld loads.
