//! The rows of the structures that the controller answers with: `slurm.h` of each release.

use crate::Release;
use crate::layout::{COLUMNS, NONE, columns, layouts};

layouts! {
    // 22.05 23.02 23.11 24.05 24.11 25.05 25.11 26.05
    /// A node, as `scontrol show node` has it.
    NodeLayout = "node_info_t" {
        alloc_cpus:          [NONE, NONE, NONE, NONE, NONE,    0,    0,    0],
        alloc_memory:        [NONE, NONE, NONE, NONE, NONE,    8,    8,    8],
        cpus:                [ 64,  64,  64,  64,  64, 104, 104, 104],
        cpus_efctv:          [ 66,  66,  66,  66,  66, 106, 106, 106],
        features:            [112, 112, 112,  96,  96, 136, 136, 136],
        features_act:        [120, 120, 120, 104, 104, 144, 144, 144],
        gres:                [128, 128, 128, 112, 112, 152, 152, 152],
        gres_used:           [144, 144, 144, 128, 128, 168, 168, 168],
        mem_spec_limit:      [168, 168, 184, 168, 168, 208, 208, 208],
        name:                [176, 176, 192, 176, 176, 216, 216, 216],
        node_state:          [208, 208, 224, 208, 208, 248, 248, 248],
        real_memory:         [248, 248, 264, 248, 248, 288, 296, 296],
        reason:              [264, 264, 280, 280, 280, 320, 328, 328],
        resv_name:           [NONE,  296,  312,  312,  312,  352,  360,  360],
        select_nodeinfo:     [ 288,  304,  320,  320,  320, NONE, NONE, NONE],
        size:                [336, 352, 368, 368, 368, 408, 416, 424],
    }

    /// A partition.
    PartitionLayout = "partition_info_t" {
        default_time:        [ 72,  72,  72,  72,  72,  72,  72,  72],
        flags:               [ 96,  96,  96,  96,  96,  96,  96,  96],
        max_time:            [144, 144, 144, 144, 144, 144, 144, 144],
        name:                [152, 152, 152, 152, 152, 152, 152, 152],
        nodes:               [168, 168, 168, 168, 168, 168, 168, 168],
        state_up:            [202, 202, 202, 202, 202, 202, 202, 202],
        size:                [232, 232, 232, 232, 232, 240, 240, 240],
    }

    /// A job.
    JobLayout = "slurm_job_info_t" {
        account:             [   0,    0,    0,    0,    0,    0,    0,    0],
        admin_comment:       [  16,   16,   16,   16,   16,   16,   16,   16],
        array_job_id:        [  48,   48,   48,   48,   48,   48,   48,   48],
        array_task_id:       [  52,   52,   52,   52,   52,   52,   52,   52],
        array_task_str:      [  64,   64,   64,   64,   64,   64,   64,   64],
        batch_flag:          [  88,   88,   88,   88,   88,   88,   88,   88],
        cpus_per_task:       [ 192,  200,  200,  200,  200,  200,  200,  208],
        dependency:          [ 240,  248,  248,  248,  248,  248,  248,  256],
        eligible_time:       [ 256,  264,  264,  264,  264,  264,  264,  272],
        end_time:            [ 264,  272,  272,  272,  272,  272,  272,  280],
        exc_nodes:           [ 272,  280,  280,  280,  280,  280,  280,  288],
        exclusive:           [NONE, NONE, NONE, NONE, NONE, NONE, NONE,  304],
        features:            [ 296,  320,  320,  320,  320,  320,  320,  328],
        gres_detail_cnt:     [ 344,  368,  368,  368,  368,  368,  368,  376],
        gres_detail_str:     [ 352,  376,  376,  376,  376,  376,  376,  384],
        het_job_id:          [ 372,  396,  396,  396,  396,  396,  396,  404],
        // From 25.11 on the job_id of the step_id inside.
        job_id:              [ 388,  412,  412,  412,  412,  412,  768,  784],
        job_state:           [ 400,  432,  432,  432,  432,  432,  432,  440],
        max_nodes:           [ 444,  476,  476,  476,  476,  484,  484,  492],
        name:                [ 464,  496,  496,  496,  496,  504,  504,  520],
        nodes:               [ 480,  512,  512,  512,  512,  520,  520,  536],
        ntasks_per_node:     [ 508,  540,  540,  540,  540,  548,  548,  564],
        num_cpus:            [ 516,  548,  548,  548,  548,  556,  556,  572],
        num_nodes:           [ 520,  552,  552,  552,  552,  560,  560,  576],
        num_tasks:           [ 524,  556,  556,  556,  556,  564,  564,  580],
        partition:           [ 528,  560,  560,  560,  568,  576,  576,  592],
        pn_min_cpus:         [ 552,  584,  584,  584,  592,  600,  600,  616],
        pn_min_memory:       [ 544,  576,  576,  576,  584,  592,  592,  608],
        priority:            [ 592,  624,  624,  616,  624,  632,  632,  648],
        qos:                 [ 600,  632,  632,  648,  656,  664,  664,  680],
        req_nodes:           [ 616,  648,  648,  664,  672,  680,  680,  696],
        resv_name:           [ 656,  688,  688,  704,  712,  720,  720,  736],
        sched_nodes:         [ 664,  696,  696,  720,  728,  736,  736,  752],
        shared:              [ 688,  712,  712,  736,  744,  752,  752,  768],
        start_time:          [ 704,  728,  728,  752,  760,  768,  792,  808],
        state_reason:        [ 728,  752,  752,  776,  784,  792,  816,  832],
        submit_time:         [ 760,  784,  784,  808,  816,  832,  864,  880],
        time_limit:          [ 784,  808,  808,  832,  840,  856,  888,  904],
        tres_per_node:       [ 824,  848,  848,  872,  880,  896,  928,  944],
        tres_per_task:       [ 840,  864,  864,  888,  896,  912,  944,  960],
        user_id:             [ 864,  888,  888,  912,  920,  936,  968,  984],
        size:                [ 904,  928,  928,  952,  960,  976, 1016, 1032],
    }

    /// The answer of `slurm_load_node`.
    NodeMsgLayout = "node_info_msg_t" {
        record_count:        [  8,   8,   8,   8,   8,   8,   8,   8],
        node_array:          [ 16,  16,  16,  16,  16,  16,  16,  16],
        size:                [ 24,  24,  24,  24,  24,  24,  24,  24],
    }

    /// The answer of `slurm_load_partitions`.
    PartitionMsgLayout = "partition_info_msg_t" {
        record_count:        [  8,   8,   8,   8,   8,   8,   8,   8],
        partition_array:     [ 16,  16,  16,  16,  16,  16,  16,  16],
        size:                [ 24,  24,  24,  24,  24,  24,  24,  24],
    }

    /// The answer of `slurm_load_jobs`.
    JobMsgLayout = "job_info_msg_t" {
        last_backfill:       [  0,   0,   0,   0,   0,   0,   0,   0],
        record_count:        [ 16,  16,  16,  16,  16,  16,  16,  16],
        job_array:           [ 24,  24,  24,  24,  24,  24,  24,  24],
        size:                [ 32,  32,  32,  32,  32,  32,  32,  32],
    }

    /// What became of an update, per job or task.
    ArrayRespLayout = "job_array_resp_msg_t" {
        job_array_count:     [   0,    0,    0,    0,    0,    0,    0,    0],
        job_array_id:        [   8,    8,    8,    8,    8,    8,    8,    8],
        error_code:          [  16,   16,   16,   16,   16,   16,   16,   16],
        err_msg:             [NONE,   24,   24,   24,   24,   24,   24,   24],
        size:                [  24,   32,   32,   32,   32,   32,   32,   32],
    }
}

columns! {
    /// `node_info_t`
    node: NodeLayout,
    /// `partition_info_t`
    partition: PartitionLayout,
    /// `slurm_job_info_t`
    job: JobLayout,
    /// `node_info_msg_t`
    node_msg: NodeMsgLayout,
    /// `partition_info_msg_t`
    partition_msg: PartitionMsgLayout,
    /// `job_info_msg_t`
    job_msg: JobMsgLayout,
    /// `job_array_resp_msg_t`
    array_resp: ArrayRespLayout,
}

/// The offsets of a release.
#[must_use]
pub fn of(release: Release) -> &'static Layout {
    &LAYOUTS[release as usize]
}
