//! Byte offsets of the fields we use, per release. What the controller answers with has its rows
//! in [`crate::cluster::layout`].
//!
//! Columns are releases, rows are fields; 64-bit Linux (LP64) only. The rows of
//! `job_desc_msg_t` come from the public `slurm.h` and are compared with every
//! header at hand by `tests/layout_check.rs`. The GRES structures are private
//! to Slurm (`src/interfaces/gres.h`, `src/common/gres.h` before 23.02); their
//! rows were read off compiled sources of each release. Nothing promises that a
//! micro release keeps them, and one did not: so those that Slurm allocates are
//! touched only if the size of the allocation is the one in the table.

use crate::Release;

/// Slurm releases in the order of the columns, by API number.
pub const API_NUMBERS: [u32; COLUMNS] = [38, 39, 40, 41, 42, 43, 44, 45];
pub(crate) const COLUMNS: usize = 8;

/// Marks a field that a release does not have.
pub const NONE: usize = usize::MAX;

#[cfg(not(all(target_pointer_width = "64", target_endian = "little", target_os = "linux")))]
compile_error!("the layouts of Slurm's structures are known for little-endian 64-bit Linux only");

macro_rules! layouts {
    ($($(#[$doc:meta])* $name:ident = $c_name:literal { $($field:ident: $row:tt,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        #[allow(missing_docs)] // Fields are named as in Slurm; the number is the byte offset.
        pub struct $name {
            $(pub $field: usize,)*
        }

        impl $name {
            /// The name of the structure in C.
            pub const C_NAME: &'static str = $c_name;
            /// Name and offsets of each field, `size` last.
            pub const ROWS: &'static [(&'static str, [usize; COLUMNS])] =
                &[$((stringify!($field), $row),)*];

            const fn column(index: usize) -> Self {
                $(let $field: [usize; COLUMNS] = $row;)*
                Self { $($field: $field[index],)* }
            }
        }
    )*};
}
pub(crate) use layouts;

/// The structures of a file together, a column per release.
macro_rules! columns {
    ($($(#[$doc:meta])* $field:ident: $name:ident,)*) => {
        /// The offsets of one release.
        #[derive(Debug, Clone, Copy)]
        pub struct Layout {
            $($(#[$doc])* pub $field: $name,)*
        }

        impl Layout {
            const fn column(index: usize) -> Self {
                Self { $($field: $name::column(index),)* }
            }
        }

        static LAYOUTS: [Layout; COLUMNS] = {
            let mut columns = [Layout::column(0); COLUMNS];
            let mut index = 1;
            while index < COLUMNS {
                columns[index] = Layout::column(index);
                index += 1;
            }
            columns
        };
    };
}
pub(crate) use columns;

layouts! {
    // 22.05 23.02 23.11 24.05 24.11 25.05 25.11 26.05
    /// What the user asks for.
    JobDescLayout = "job_desc_msg_t" {
        account:          [  0,   0,   0,   0,   0,   0,   0,   0],
        admin_comment:    [ 16,  16,  16,  16,  16,  16,  16,  16],
        array_inx:        [ 56,  56,  56,  56,  56,  64,  64,  64],
        bitflags:         [ 88,  88,  88,  88,  88,  96,  96,  96],
        comment:          [120, 120, 120, 120, 120, 128, 128, 128],
        cpus_per_tres:    [176, 184, 184, 184, 184, 192, 192, 200],
        environment:      [224, 232, 232, 232, 232, 240, 240, 248],
        env_size:         [268, 276, 276, 276, 276, 284, 284, 292],
        exc_nodes:        [280, 280, 280, 280, 280, 288, 288, 296],
        features:         [288, 296, 296, 296, 296, 304, 304, 312],
        het_job_offset:   [316, 324, 324, 324, 324, 332, 332, 340],
        // From 25.11 on the job_id of the step_id inside.
        job_id:           [324, 332, 340, 340, 340, 348, 664, 672],
        job_id_str:       [328, 336, 344, 344, 344, 352, 352, 360],
        mem_per_tres:     [392, 416, 424, 424, 424, 432, 432, 440],
        name:             [400, 424, 432, 432, 432, 440, 440, 448],
        num_tasks:        [420, 444, 452, 452, 452, 460, 460, 468],
        partition:        [448, 472, 480, 480, 480, 488, 488, 496],
        prefer:           [464, 488, 496, 496, 496, 504, 504, 512],
        qos:              [480, 504, 512, 512, 512, 520, 520, 528],
        req_nodes:        [512, 536, 544, 544, 544, 552, 552, 560],
        reservation:      [528, 552, 560, 560, 560, 568, 568, 576],
        script:           [536, 560, 568, 576, 576, 584, 584, 592],
        shared:           [586, 610, 618, 626, 626, 634, 634, 642],
        submit_line:      [608, 632, 640, 648, 648, 656, 680, 688],
        time_limit:       [620, 644, 652, 660, 660, 668, 692, 700],
        tres_bind:        [632, 656, 664, 672, 672, 680, 704, 712],
        tres_per_job:     [648, 672, 680, 688, 688, 696, 720, 728],
        tres_per_node:    [656, 680, 688, 696, 696, 704, 728, 736],
        tres_per_socket:  [664, 688, 696, 704, 704, 712, 736, 744],
        tres_per_task:    [672, 696, 704, 712, 712, 720, 744, 752],
        user_id:          [680, 704, 712, 720, 720, 728, 752, 760],
        cpus_per_task:    [704, 728, 736, 744, 744, 752, 776, 784],
        min_cpus:         [708, 732, 740, 748, 748, 756, 780, 788],
        max_cpus:         [712, 736, 744, 752, 752, 760, 784, 792],
        min_nodes:        [716, 740, 748, 756, 756, 764, 788, 796],
        max_nodes:        [720, 744, 752, 760, 760, 768, 792, 800],
        ntasks_per_node:  [734, 758, 766, 774, 774, 782, 806, 814],
        ntasks_per_tres:  [742, 766, 774, 782, 782, 790, 814, 822],
        pn_min_cpus:      [744, 768, 776, 784, 784, 792, 816, 824],
        pn_min_memory:    [752, 776, 784, 792, 792, 800, 824, 832],
        size:             [880, 896, 904, 912, 912, 920, 944, 952],
    }

    /// One line of gres.conf, or one run of units that a plugin found.
    GresConfLayout = "gres_slurmd_conf_t" {
        config_flags:        [  0,   0,   0,   0,   0,   0,   0,   0],
        count:               [  8,   8,   8,   8,   8,   8,   8,   8],
        cpu_cnt:             [ 16,  16,  16,  16,  16,  16,  16,  16],
        cpus:                [ 24,  24,  24,  24,  24,  24,  24,  24],
        cpus_bitmap:         [ 32,  32,  32,  32,  32,  32,  32,  32],
        file:                [ 40,  40,  40,  40,  40,  40,  40,  40],
        links:               [ 48,  48,  48,  48,  48,  48,  48,  48],
        name:                [ 56,  56,  56,  56,  56,  56,  56,  56],
        type_name:           [ 64,  64,  64,  64,  64,  64,  64,  64],
        unique_id:           [ 72,  72,  72,  72,  72,  72,  72,  72],
        plugin_id:           [ 80,  80,  80,  80,  80,  80,  80,  80],
        size:                [ 88,  88,  88,  88,  88,  88,  88,  88],
    }

    /// One device file of one unit.
    GresDeviceLayout = "gres_device_t" {
        index:               [  0,   0,   0,   0,   0,   0,   0,   0],
        alloc:               [  4,   4,   4,   4,   4,   4,   4,   4],
        // dev_desc: major, minor, type.
        major:               [  8,   8,   8,   8,   8,   8,   8,   8],
        minor:               [ 12,  12,  12,  12,  12,  12,  12,  12],
        dev_type:            [ 16,  16,  16,  16,  16,  16,  16,  16],
        dev_num:             [ 20,  20,  20,  20,  20,  20,  20,  20],
        path:                [ 24,  24,  24,  24,  24,  24,  32,  32],
        unique_id:           [ 32,  32,  32,  32,  32,  32,  40,  40],
        size:                [ 40,  40,  40,  40,  40,  40,  48,  48],
    }

    /// What slurmd tells a GRES plugin about the node.
    NodeConfigLayout = "node_config_load_t" {
        cpu_cnt:             [  0,   0,   0,   0,   0,   0,   0,   0],
        gres_name:           [NONE,  8,   8,   8,   8,   8,   8,   8],
        in_slurmd:           [  4,  16,  16,  16,  16,  16,  16,  16],
        xcpuinfo_mac_to_abs: [  8,  24,  24,  24,  24,  24,  24,  24],
        size:                [ 16,  32,  32,  32,  32,  32,  32,  32],
    }

    /// What prolog and epilog get to know about a job's units.
    GresPrepLayout = "gres_prep_t" {
        plugin_id:           [  0,   0,   0,   0,   0,   0,   0,   0],
        node_cnt:            [  4,   4,   4,   4,   4,   4,   4,   4],
        node_list:           [  8,   8,   8,   8,   8,   8,   8,   8],
        gres_bit_alloc:      [ 16,  16,  16,  16,  16,  16,  16,  16],
        gres_cnt_node_alloc: [ 24,  24,  24,  24,  24,  24,  24,  24],
        size:                [ 32,  32,  32,  32,  32,  32,  32,  32],
    }

    /// slurmctld's record of a job's units.
    GresJobStateLayout = "gres_job_state_t" {
        node_cnt:            [112, 112, 120, 136, 136, 136, 136, 136],
        gres_bit_alloc:      [120, 120, 128, 144, 144, 144, 144, 144],
        gres_cnt_node_alloc: [128, 128, 136, 152, 152, 152, 152, 152],
        size:                [152, 152, 176, 192, 192, 192, 192, 192],
    }
}

impl GresJobStateLayout {
    /// 26.05.5 has grown by one member in front of these, the only change of
    /// a micro release so far (seen on Debian's 26.05.5; 26.05.0 to 26.05.4 have
    /// the layout of the table).
    pub const V26_05_5: Self =
        Self { node_cnt: 144, gres_bit_alloc: 152, gres_cnt_node_alloc: 160, size: 200 };
}

columns! {
    /// `job_desc_msg_t`
    job_desc: JobDescLayout,
    /// `gres_slurmd_conf_t`
    gres_conf: GresConfLayout,
    /// `gres_device_t`
    gres_device: GresDeviceLayout,
    /// `node_config_load_t`
    node_config: NodeConfigLayout,
    /// `gres_prep_t`
    gres_prep: GresPrepLayout,
    /// `gres_job_state_t`
    gres_job_state: GresJobStateLayout,
}

impl Release {
    /// The offsets of this release.
    #[must_use]
    pub fn layout(self) -> &'static Layout {
        &LAYOUTS[self as usize]
    }
}
