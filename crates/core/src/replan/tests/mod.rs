mod any;

use super::*;
use crate::request::Request;
use crate::view::{LeafCount, NodeView, PartitionView};

const NOW: u64 = 1_000_000;

fn dialect() -> Dialect<'static> {
    Dialect::of((24, 11, 5), &"24.11.5", NOW)
}

fn settings() -> Settings {
    let compose = Compose::Missing;
    Settings { on: true, cycle: 30, depth: 500, more_leaves: true, compose, limits: false }
}

/// A node with `(type, configured, used)`.
fn node(name: &str, leaves: &[(&str, u64, u64)]) -> NodeView {
    NodeView {
        name: name.into(),
        usable: true,
        cpus: 64,
        memory: 500_000,
        leaves: leaves
            .iter()
            .map(|&(kind, configured, used)| LeafCount {
                kind: Some(kind.into()),
                configured,
                used,
                ..LeafCount::default()
            })
            .collect(),
        ..NodeView::default()
    }
}

/// A waiting job that asked for `req` and got `got`.
fn job(id: u32, req: &str, got: &str) -> JobView {
    let note = Note { req: req.into(), got: got.into(), why: "queue".into(), ..Note::default() };
    let terms: Vec<String> = got.split(',').map(|term| format!("gres/flexmig:{term}")).collect();
    JobView {
        job_id: id,
        partition: "all".into(),
        reason: "Resources".into(),
        priority: 1000 - id,
        tres_per_node: terms.join(","),
        admin_comment: format!("mine {note} yours"),
        time_limit: Some(60),
        num_tasks: Some(1),
        min_cpus: Some(1),
        min_nodes: Some(1),
        cpus_per_task: Some(1),
        pn_min_cpus: Some(1),
        batch: true,
        ..JobView::default()
    }
}

fn view(nodes: Vec<NodeView>, jobs: Vec<JobView>) -> ClusterView {
    ClusterView {
        taken_at: NOW,
        release: "24.11.5".into(),
        partitions: vec![PartitionView::of_all(&nodes)],
        nodes,
        jobs: Some(jobs),
        ..ClusterView::default()
    }
}

fn plan_with(planner: &mut Planner, view: &ClusterView, settings: &Settings) -> Vec<Update> {
    let site = Site::of_view(&Policy::default(), view);
    planner.plan(view, &site, &dialect(), settings)
}

fn plan(view: &ClusterView) -> Vec<(String, String)> {
    let updates = plan_with(&mut Planner::default(), view, &settings());
    updates.into_iter().map(|update| (update.job, update.note.got)).collect()
}

fn one(job: &str, got: &str) -> Vec<(String, String)> {
    vec![(job.into(), got.into())]
}

/// The large leaf is busy, three of the small ones are free.
fn busy() -> NodeView {
    node("n1", &[("1g.10gb", 4, 1), ("3g.40gb", 1, 1)])
}

#[test]
fn a_waiting_job_moves_to_what_is_free() {
    let waiting = JobView { tres_per_task: "cpu=1".into(), ..job(1, "3g:1", "3g.40gb:1") };
    let view = view(vec![busy()], vec![waiting]);
    let updates = plan_with(&mut Planner::default(), &view, &settings());
    let update = &updates[0];
    assert_eq!((update.job.as_str(), update.job_id), ("1", 1));
    assert_eq!(update.tres_per_node, "gres/flexmig:1g.10gb:3");
    assert_eq!(update.note.to_string(), "[flexmig:v1 req=3g:1 got=1g.10gb:3 why=moved]");
    assert_eq!(update.comment, view.jobs.as_ref().unwrap()[0].admin_comment);
    // The user named the tasks: they stay. Releases from 24.05 on say so here too.
    assert_eq!((update.num_tasks, update.min_cpus), (None, None));
    assert!(!update.back);
}

#[test]
fn what_we_filled_in_changes_with_the_leaves() {
    let mut waiting = job(1, "3g:1", "3g.40gb:1");
    waiting.admin_comment = "[flexmig:v1 req=3g:1 got=3g.40gb:1 fill=tm why=queue]".into();
    waiting.ntasks_per_node = Some(1);
    (waiting.cpus_per_task, waiting.min_cpus, waiting.pn_min_cpus) = (Some(2), Some(2), Some(2));
    waiting.memory_per_node = Some(1000);
    let view = view(vec![busy()], vec![waiting]);
    let mut policy = Policy::default();
    policy.submit.memory_per_leaf = Some(1000);
    let site = Site::of_view(&policy, &view);
    let updates = Planner::default().plan(&view, &site, &dialect(), &settings());
    let update = &updates[0];
    assert_eq!(update.note.got, "1g.10gb:3");
    assert_eq!((update.num_tasks, update.ntasks_per_node), (Some(3), Some(3)));
    assert_eq!((update.cpus_per_task, update.min_cpus), (None, Some(6)));
    assert_eq!((update.pn_min_cpus, update.memory), (Some(6), Some(3000)));
    assert!(update.note.fill.tasks && update.note.fill.memory && !update.note.fill.cpus);
}

#[test]
fn where_limits_are_enforced_cpus_and_memory_stay() {
    let limits = Settings { limits: true, ..settings() };
    let filled = |fill: &str| {
        let mut waiting = job(1, "3g:1", "3g.40gb:1");
        waiting.admin_comment =
            format!("[flexmig:v1 req=3g:1 got=3g.40gb:1 fill={fill} why=queue]");
        waiting.ntasks_per_node = Some(1);
        waiting.memory_per_node = Some(1000);
        let view = view(vec![busy()], vec![waiting]);
        let mut policy = Policy::default();
        policy.submit.memory_per_leaf = Some(1000);
        let site = Site::of_view(&policy, &view);
        Planner::default().plan(&view, &site, &dialect(), &limits)
    };
    let updates = filled("t");
    assert_eq!((updates[0].num_tasks, updates[0].ntasks_per_node), (Some(3), Some(3)));
    assert_eq!((updates[0].pn_min_cpus, updates[0].min_cpus), (Some(3), None));
    assert_eq!(updates[0].memory, None);
    assert_eq!(filled("tm"), [], "three leaves would need more memory");
    let enforced = |text: &str| {
        let conf = SlurmConf::parse("slurm.conf", text.as_bytes(), &mut |_| Err("none".into()));
        Settings::new(&Policy::default(), Some(&conf)).limits
    };
    assert!(enforced("AccountingStorageEnforce=associations,Limits\n"));
    assert!(
        enforced("AccountingStorageEnforce=safe\n") && enforced("AccountingStorageEnforce=2\n")
    );
    assert!(!enforced("AccountingStorageEnforce=associations\n") && !enforced("\n"));
}

#[test]
fn a_job_that_moved_into_a_limit_goes_back() {
    let mut planner = Planner::default();
    let mut now = view(vec![busy()], vec![job(1, "3g:1", "3g.40gb:1")]);
    let moved = plan_with(&mut planner, &now, &settings()).remove(0);
    planner.made(&moved, NOW, &settings());
    let waiting = &mut now.jobs.as_mut().unwrap()[0];
    waiting.tres_per_node.clone_from(&moved.tres_per_node);
    waiting.admin_comment = moved.note.put_into(&waiting.admin_comment);
    waiting.reason = "QOSGrpGRES".into();
    now.taken_at += 29;
    assert_eq!(plan_with(&mut planner, &now, &settings()), [], "one update per cycle");
    now.taken_at += 1;
    let back = plan_with(&mut planner, &now, &settings()).remove(0);
    assert!(back.back && back.tres_per_node == "gres/flexmig:3g.40gb:1");
    // Another process does not know the first choice, but works it out.
    assert_eq!(plan_with(&mut Planner::default(), &now, &settings()).len(), 1);
    // A limit that was there before is nobody's fault.
    let waiting = &mut now.jobs.as_mut().unwrap()[0];
    waiting.admin_comment = back.note.put_into(&waiting.admin_comment);
    assert_eq!(plan_with(&mut planner, &now, &settings()), []);
}

#[test]
fn jobs_of_a_federation_are_left_alone() {
    let own = (1 << 26) - 1;
    assert_eq!(
        plan(&view(vec![busy()], vec![JobView { job_id: own, ..job(1, "3g:1", "3g.40gb:1") }]))
            .len(),
        1
    );
    assert_eq!(
        plan(&view(vec![busy()], vec![JobView { job_id: own + 1, ..job(1, "3g:1", "3g.40gb:1") }])),
        []
    );
}

#[test]
fn an_endless_backfill_interval_is_bounded() {
    let text = "SchedulerParameters=bf_interval=18446744073709551615\n";
    let conf = SlurmConf::parse("slurm.conf", text.as_bytes(), &mut |_| Err("none".into()));
    assert_eq!(Settings::new(&Policy::default(), Some(&conf)).cycle, LONGEST_INTERVAL);
}

#[test]
fn other_gres_of_the_request_stay() {
    let mut waiting = job(1, "3g:1", "3g.40gb:1");
    waiting.tres_per_node = "gres/gpu:a100:1,gres/flexmig:3g.40gb:1".into();
    let updates =
        plan_with(&mut Planner::default(), &view(vec![busy()], vec![waiting]), &settings());
    assert_eq!(updates[0].tres_per_node, "gres/gpu:a100:1,gres/flexmig:1g.10gb:3");
    // It waits for the other GRES if its leaves are free.
    let mut waiting = job(1, "3g:1", "1g.10gb:3");
    waiting.tres_per_node = "gres/gpu:a100:1,gres/flexmig:1g.10gb:3".into();
    let free = node("n1", &[("1g.10gb", 4, 0), ("3g.40gb", 1, 0)]);
    assert_eq!(plan(&view(vec![free], vec![waiting])), []);
}

#[test]
fn jobs_that_wait_for_anything_else_stay() {
    type Change = fn(&mut JobView);
    let changes: [(&str, Change); 13] = [
        ("held", |j| j.priority = 0),
        ("limit", |j| j.reason = "AssocGrpGRES".into()),
        ("limit of the QOS", |j| j.reason = "QOSMaxGRESPerUser".into()),
        ("dependency", |j| j.dependency = "afterok:7".into()),
        ("reservation", |j| j.reservation = "r".into()),
        ("begin time", |j| j.begin_time = Some(NOW + 60)),
        ("het job", |j| j.het_job_id = Some(1)),
        ("whole nodes", |j| j.exclusive = true),
        ("per task", |j| j.tres_per_task = "gres/flexmig:3g.40gb:1".into()),
        ("changed by its user", |j| j.tres_per_node = "gres/flexmig:3g.40gb:2".into()),
        ("no note", |j| j.admin_comment = "mine".into()),
        ("exact", |j| j.admin_comment = j.admin_comment.replace("req=3g:1", "req=3g.40gb:1")),
        ("other nodes", |j| j.exc_nodes = "n[1-2]".into()),
    ];
    for (what, change) in changes {
        let mut waiting = job(1, "3g:1", "3g.40gb:1");
        change(&mut waiting);
        assert_eq!(plan(&view(vec![busy()], vec![waiting])), [], "{what}");
    }
}

#[test]
fn cpus_memory_and_the_state_of_the_node_count() {
    let changes: [fn(&mut NodeView); 5] = [
        |node| node.cpus_used = 64,
        |node| node.memory_used = 499_500,
        |node| node.usable = false,
        |node| node.reserved = true,
        // For a job that the view does not show.
        |node| node.planned = true,
    ];
    for change in changes {
        let mut waiting = job(1, "3g:1", "3g.40gb:1");
        waiting.memory_per_node = Some(1000);
        let mut nodes = vec![busy()];
        assert_eq!(plan(&view(nodes.clone(), vec![waiting.clone()])), one("1", "1g.10gb:3"));
        change(&mut nodes[0]);
        assert_eq!(plan(&view(nodes, vec![waiting])), []);
    }
    // Without a request for memory a job gets all, where it is handed out.
    let held = NodeView { memory_used: 1, ..busy() };
    assert_eq!(plan(&view(vec![held], vec![job(1, "3g:1", "3g.40gb:1")])), []);
}

/// A job of these partitions and priority that is planned on n1.
fn planned(partition: &str, priority: u32, minutes: u64) -> JobView {
    JobView {
        partition: partition.into(),
        priority,
        sched_nodes: "n1".into(),
        start_time: Some(NOW + minutes * 60),
        min_cpus: Some(1),
        // Cannot start: more than there are.
        tres_per_node: "gres/flexmig:1g.10gb:4".into(),
        ..job(9, "1g.10gb:4", "1g.10gb:4")
    }
}

#[test]
fn a_node_is_open_until_a_job_that_goes_before_is_planned_on_it() {
    let moves = |other: JobView| {
        let jobs = vec![job(1, "3g:1", "3g.40gb:1"), other];
        !plan(&view(vec![busy()], jobs)).is_empty()
    };
    assert!(moves(planned("all", 5000, 60)));
    assert!(!moves(planned("all", 5000, 59)));
    assert!(moves(planned("all", 5, 59)), "the other goes after it");
    assert!(!moves(planned("high", 5, 59)), "tiers of partitions are not known");
    let mut unlimited = job(1, "3g:1", "3g.40gb:1");
    unlimited.time_limit = None;
    let jobs = vec![unlimited, planned("all", 5000, 100_000)];
    assert_eq!(plan(&view(vec![busy()], jobs)), []);
}

#[test]
fn what_is_best_of_its_own_nodes_is_taken() {
    // Onto n1 a job is planned that goes after this one: new jobs keep off, this one need not.
    let nodes =
        vec![node("n1", &[("1g.10gb", 3, 0), ("3g.40gb", 1, 1)]), node("n2", &[("2g.20gb", 2, 0)])];
    let jobs = || vec![job(1, "3g:1", "3g.40gb:1"), planned("all", 5, 1)];
    assert_eq!(plan(&view(nodes.clone(), jobs())), one("1", "1g.10gb:3"));
    // Three leaves were free for all when the round began, but a job in front has one of them.
    let front = job(0, "1g.10gb:1", "1g.10gb:1");
    assert_eq!(plan(&view(nodes, [vec![front], jobs()].concat())), one("1", "2g.20gb:2"));
}

#[test]
fn leaves_that_others_wait_for_are_left_to_them() {
    let nodes = vec![node("n1", &[("1g.10gb", 4, 4), ("4g.40gb", 1, 0)])];
    let small = || job(1, "1g:1", "1g.10gb:1");
    assert_eq!(plan(&view(nodes.clone(), vec![small()])), one("1", "4g.40gb:1"));
    let large = JobView { time_limit: Some(10), ..job(2, "4g.40gb:1", "4g.40gb:1") };
    assert_eq!(plan(&view(nodes, vec![small(), large])), []);
}

#[test]
fn a_plan_that_backfill_has_just_wiped_still_counts() {
    let mut planner = Planner::default();
    let jobs = vec![job(1, "3g:1", "3g.40gb:1"), planned("all", 5000, 30)];
    let mut view = view(vec![busy()], jobs);
    assert_eq!(plan_with(&mut planner, &view, &settings()), []);
    let wiped = |job: &mut JobView| (job.sched_nodes, job.start_time) = (String::new(), None);
    view.jobs.iter_mut().flatten().for_each(wiped);
    view.taken_at += 20;
    assert_eq!(plan_with(&mut planner, &view, &settings()), []);
    view.taken_at += 60;
    assert_eq!(plan_with(&mut planner, &view, &settings()).len(), 1);
}

#[test]
fn no_two_jobs_get_the_same_leaves_and_the_first_goes_first() {
    let jobs = || (1..=3).map(|id| job(id, "3g:1", "3g.40gb:1")).collect::<Vec<_>>();
    assert_eq!(plan(&view(vec![busy()], jobs())), one("1", "1g.10gb:3"));
    let mut late = jobs();
    late[2].priority = 5000;
    assert_eq!(plan(&view(vec![busy()], late)), one("3", "1g.10gb:3"));
    let nodes = vec![busy(), node("n2", &[("1g.10gb", 7, 0)])];
    let moved = plan(&view(nodes, jobs()));
    assert_eq!(moved.iter().map(|(job, _)| job.as_str()).collect::<Vec<_>>(), ["1", "2", "3"]);
}

#[test]
fn what_a_job_in_front_can_start_on_is_its_own() {
    // The first takes two of the three small leaves as it is.
    let jobs = vec![job(1, "1g.10gb:2", "1g.10gb:2"), job(2, "3g:1", "3g.40gb:1")];
    let mut planner = Planner::default();
    let mut view = view(vec![busy()], jobs);
    assert_eq!(plan_with(&mut planner, &view, &settings()), []);
    // But it does not, for a reason that we do not know: it does not stop others for ever.
    view.taken_at += 61;
    assert_eq!(plan_with(&mut planner, &view, &settings())[0].job, "2");
}

#[test]
fn a_job_that_can_start_as_it_is_stays() {
    let free = node("n1", &[("1g.10gb", 4, 0), ("3g.40gb", 1, 0)]);
    assert_eq!(plan(&view(vec![free], vec![job(1, "3g:1", "3g.40gb:1")])), []);
}

#[test]
fn a_job_that_could_start_but_does_not_may_move_in_the_end() {
    let nodes = vec![node("n1", &[("3g.40gb", 1, 0)]), node("n2", &[("1g.10gb", 4, 0)])];
    let mut planner = Planner::default();
    let mut view = view(nodes, vec![job(1, "3g:1", "3g.40gb:1")]);
    assert_eq!(plan_with(&mut planner, &view, &settings()), []);
    view.taken_at += 61;
    assert_eq!(plan_with(&mut planner, &view, &settings())[0].note.got, "1g.10gb:3");
}

#[test]
fn back_after_two_cycles_then_rest() {
    let mut planner = Planner::default();
    let mut now = view(vec![busy()], vec![job(1, "3g:1", "3g.40gb:1")]);
    let at = |seconds: u64, view: &mut ClusterView| view.taken_at = NOW + seconds;
    let first = plan_with(&mut planner, &now, &settings()).remove(0);
    planner.made(&first, NOW, &settings());
    let apply = |view: &mut ClusterView, update: &Update| {
        let job = &mut view.jobs.as_mut().unwrap()[0];
        job.tres_per_node.clone_from(&update.tres_per_node);
        job.admin_comment = update.note.put_into(&job.admin_comment);
    };
    apply(&mut now, &first);
    // Its new leaves are gone before it starts, and others are not free either.
    now.nodes[0].leaves[0].used = 4;
    for seconds in [1, 31, 59] {
        at(seconds, &mut now);
        assert_eq!(plan_with(&mut planner, &now, &settings()), []);
    }
    at(60, &mut now);
    let back = plan_with(&mut planner, &now, &settings()).remove(0);
    assert!(back.back);
    assert_eq!(back.tres_per_node, "gres/flexmig:3g.40gb:1");
    assert_eq!(back.note.to_string(), "[flexmig:v1 req=3g:1 got=3g.40gb:1 why=first-choice]");
    planner.made(&back, NOW + 60, &settings());
    apply(&mut now, &back);
    now.nodes[0].leaves[0].used = 1;
    at(60 + 599, &mut now);
    assert_eq!(plan_with(&mut planner, &now, &settings()), []);
    at(60 + 600, &mut now);
    assert_eq!(plan_with(&mut planner, &now, &settings()).len(), 1);
}

#[test]
fn one_update_per_cycle_and_none_after_a_refusal() {
    let mut planner = Planner::default();
    let mut now = view(vec![busy()], vec![job(1, "3g:1", "3g.40gb:1")]);
    let update = plan_with(&mut planner, &now, &settings()).remove(0);
    // Not sent: it comes again.
    assert_eq!(plan_with(&mut planner, &now, &settings()), std::slice::from_ref(&update));
    planner.failed(&update, NOW, &settings());
    now.taken_at += 599;
    assert_eq!(plan_with(&mut planner, &now, &settings()), []);
    now.taken_at += 1;
    assert_eq!(plan_with(&mut planner, &now, &settings()).len(), 1);
}

#[test]
fn a_new_process_knows_a_moved_job_from_its_note() {
    let mut moved = job(1, "3g:1", "1g.10gb:3");
    moved.admin_comment = moved.admin_comment.replace("why=queue", "why=moved");
    let mut planner = Planner::default();
    let mut now = view(vec![node("n1", &[("1g.10gb", 4, 4), ("3g.40gb", 1, 1)])], vec![moved]);
    assert_eq!(plan_with(&mut planner, &now, &settings()), []);
    now.taken_at += 60;
    let updates = plan_with(&mut planner, &now, &settings());
    assert!(updates[0].back && updates[0].note.got == "3g.40gb:1", "{updates:?}");
}

#[test]
fn where_leaves_are_accounted_a_job_never_gets_more() {
    let capped = Settings { more_leaves: false, ..settings() };
    let mut planner = Planner::default();
    let jobs = vec![job(1, "3g:1", "3g.40gb:1"), job(2, "1", "1g.10gb:1")];
    let nodes = vec![node("n1", &[("1g.10gb", 4, 0), ("2g.20gb", 1, 0), ("3g.40gb", 1, 1)])];
    let mut view = view(nodes, jobs);
    assert_eq!(plan_with(&mut planner, &view, &capped), []);
    // One leaf for one is no more.
    view.nodes[0].leaves[0].used = 4;
    let updates = plan_with(&mut planner, &view, &capped);
    assert_eq!(updates.len(), 1);
    assert_eq!((updates[0].job.as_str(), updates[0].note.got.as_str()), ("2", "2g.20gb:1"));
}

#[test]
fn of_an_array_as_many_next_tasks_as_may_run() {
    let mut array = job(20, "3g:1", "3g.40gb:1");
    (array.array_job_id, array.array_tasks) = (Some(20), "3-5,9%3".into());
    let mut running = job(21, "3g:1", "3g.40gb:1");
    (running.state, running.array_job_id, running.array_task_id) =
        (JobState::Running, Some(20), Some(2));
    let nodes = || vec![node("n1", &[("1g.10gb", 14, 0), ("3g.40gb", 1, 1)])];
    let moved = plan(&view(nodes(), vec![array.clone(), running]));
    let names: Vec<&str> = moved.iter().map(|(job, _)| job.as_str()).collect();
    assert_eq!(names, ["20_3", "20_4"]);
    array.array_tasks = "3-5,9".into();
    assert_eq!(plan(&view(nodes(), vec![array])).len(), 4);
}

#[test]
fn lists_of_tasks_are_read() {
    assert_eq!(job::array_tasks("3-5,9%2", 9), (vec![3, 4, 5, 9], Some(2)));
    assert_eq!(job::array_tasks("0-1000000", 3), (vec![0, 1, 2], None));
    assert_eq!(job::array_tasks("1-9:4,20", 9), (vec![1, 5, 9, 20], None));
    assert_eq!(job::array_tasks("1,2,...", 9), (vec![1, 2], None));
    assert_eq!(job::array_tasks("", 9), (vec![], None));
}

#[test]
fn a_round_makes_twenty_updates_at_most() {
    let jobs = (1..=50).map(|id| job(id, "3g:1", "3g.40gb:1")).collect();
    let nodes = vec![node("n1", &[("1g.10gb", 500, 0), ("3g.40gb", 1, 1)])];
    assert_eq!(plan(&view(nodes, jobs)).len(), MOST);
}

#[test]
fn a_round_looks_as_deep_as_backfill() {
    let shallow = Settings { depth: 2, ..settings() };
    let busy_at_first = |id| job(id, "3g:1", "3g.40gb:1");
    let fixed = |id| job(id, "4g.40gb:1", "4g.40gb:1");
    let view = view(vec![busy()], vec![fixed(1), fixed(2), busy_at_first(3)]);
    assert_eq!(plan_with(&mut Planner::default(), &view, &shallow), []);
    assert_eq!(plan_with(&mut Planner::default(), &view, &settings()).len(), 1);
}

#[test]
fn nothing_moves_where_it_is_off_or_the_release_cannot() {
    let view = view(vec![busy()], vec![job(1, "3g:1", "3g.40gb:1")]);
    let off = Settings { on: false, ..settings() };
    assert_eq!(plan_with(&mut Planner::default(), &view, &off), []);
    let site = Site::of_view(&Policy::default(), &view);
    let old = Dialect { update_replaces: false, ..dialect() };
    assert_eq!(Planner::default().plan(&view, &site, &old, &settings()), []);
}

#[test]
fn slurm_conf_tells_cycle_and_accounting() {
    let read = |text: &str| {
        let conf = SlurmConf::parse("slurm.conf", text.as_bytes(), &mut |_| Err("none".into()));
        let settings = Settings::new(&Policy::default(), Some(&conf));
        (settings.cycle, settings.depth, settings.more_leaves)
    };
    assert_eq!(read(""), (30, 500, true));
    let parameters = "SchedulerParameters=bf_continue,bf_interval=60,bf_max_job_test=50\n";
    assert_eq!(read(parameters), (60, 50, true));
    // Not more often than we look.
    assert_eq!(read("SchedulerParameters=bf_interval=1,bf_max_job_test=9999\n"), (5, JOBS, true));
    assert_eq!(read("AccountingStorageTRES=gres/gpu,GRES/flexmig:1g.10gb\n"), (30, 500, false));
}
