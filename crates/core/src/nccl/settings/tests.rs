use std::collections::BTreeMap;

use super::*;

type Env = BTreeMap<String, String>;

const PRELOADED: &str = "/l/libflexmig_preload.so";

const FILES: Files<'_> = Files {
    preload: Some(PRELOADED),
    plugin: Some("/l/libnccl-net-flexmig.so"),
    topology: Some("/run/flexmig/topo-n1.xml"),
    node: "n1",
};

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn apply(mut env: Env, edits: Vec<Edit>) -> Env {
    for (name, value) in edits {
        match value {
            Some(value) => _ = env.insert(name.to_owned(), value),
            None => assert!(env.remove(name).is_some(), "{name} is not there to be removed"),
        }
    }
    env
}

fn resolved(mode: Option<Mode>) -> Resolved {
    Resolved { mode, reason: "because".into() }
}

/// The environment of a job or step, and what was kept in it.
fn with(mode: Mode, before: &Env, conf: &[&str]) -> (Env, Vec<String>) {
    let conf = |name: &str| conf.contains(&name).then(|| "/etc/nccl.conf".to_owned());
    let Settings { edits, kept } =
        settings(&resolved(Some(mode)), &FILES, &conf, &|name| before.get(name).cloned());
    (apply(before.clone(), edits), kept)
}

fn withdrawn(env: Env) -> Env {
    let edits = withdraw(&|name| env.get(name).cloned());
    apply(env, edits)
}

#[test]
fn a_job_gets_its_mode_and_loses_it_without_a_trace() {
    for mode in [Mode::Native, Mode::RelabelP2p, Mode::RelabelShm, Mode::Net] {
        let before =
            env(&[("HOME", "/root"), ("NCCL_DEBUG", "INFO"), ("LD_PRELOAD", "/a.so /b.so")]);
        let (job, kept) = with(mode, &before, &[]);
        assert_eq!(kept, [""; 0]);
        assert_eq!(job["FLEXMIG_MODE"], mode.name());
        assert_eq!(job["FLEXMIG_MODE_REASON"], "because");
        assert_eq!(job["LD_PRELOAD"], "/a.so /b.so:/l/libflexmig_preload.so");
        assert_eq!(job["NCCL_NVLS_ENABLE"], "0");
        assert_eq!(users_mode(&|name| job.get(name).cloned()), None);
        let (step, kept) = with(mode, &job, &[]);
        assert_eq!((&step, kept), (&job, vec![]), "the same again in a step");
        assert_eq!(withdrawn(step), before);
    }
}

#[test]
fn what_the_user_set_stays_and_is_told() {
    let before = env(&[("NCCL_P2P_DISABLE", "0"), ("NCCL_NVLS_ENABLE", "0"), ("NCCL_NET", "IB")]);
    let (job, kept) = with(Mode::RelabelShm, &before, &["NCCL_CUMEM_ENABLE"]);
    assert_eq!(kept, ["NCCL_P2P_DISABLE (environment)", "NCCL_CUMEM_ENABLE (/etc/nccl.conf)"]);
    assert_eq!(
        job["FLEXMIG_MODE_REASON"],
        "because; the user's own: NCCL_P2P_DISABLE (environment) NCCL_CUMEM_ENABLE (/etc/nccl.conf)"
    );
    assert_eq!((job["NCCL_P2P_DISABLE"].as_str(), job["NCCL_NET"].as_str()), ("0", "IB"));
    assert!(!job.contains_key("NCCL_CUMEM_ENABLE"));
    let (step, again) = with(Mode::RelabelShm, &job, &["NCCL_CUMEM_ENABLE"]);
    assert_eq!((&step, again), (&job, kept));
    assert_eq!(withdrawn(step), before);
}

#[test]
fn what_the_user_changes_between_job_and_step_is_the_users() {
    let (mut job, _) = with(Mode::RelabelShm, &Env::new(), &[]);
    job.insert("NCCL_P2P_DISABLE".into(), "0".into());
    job.remove("NCCL_TOPO_FILE");
    job.remove("LD_PRELOAD");
    job.insert("FLEXMIG_MODE".into(), "net".into());
    assert_eq!(users_mode(&|name| job.get(name).cloned()).as_deref(), Some("net"));
    let (step, _) = with(Mode::RelabelShm, &job, &[]);
    for step in [&step, &with(Mode::RelabelShm, &step, &[]).0] {
        assert_eq!(step["NCCL_P2P_DISABLE"], "0");
        assert!(!step.contains_key("NCCL_TOPO_FILE") && !step.contains_key("LD_PRELOAD"));
        assert_eq!(step["FLEXMIG_MODE"], "net");
    }
    let left = env(&[("NCCL_P2P_DISABLE", "0"), ("FLEXMIG_MODE", "net")]);
    assert_eq!(withdrawn(step), left);
}

#[test]
fn a_file_that_the_user_writes_in_the_job_wins_in_the_next_step() {
    let (job, _) = with(Mode::RelabelShm, &Env::new(), &[]);
    let (step, kept) = with(Mode::RelabelShm, &job, &["NCCL_P2P_DISABLE"]);
    assert!(!step.contains_key("NCCL_P2P_DISABLE"));
    assert_eq!(kept, ["NCCL_P2P_DISABLE (/etc/nccl.conf)"]);
}

#[test]
fn another_mode_takes_away_what_the_first_set() {
    let (job, _) = with(Mode::Net, &env(&[("FLEXMIG_MODE", "auto")]), &[]);
    assert_eq!(job["NCCL_NET"], "FlexMIG");
    let (step, _) = with(Mode::RelabelP2p, &job, &[]);
    for name in ["NCCL_NET", "NCCL_NET_PLUGIN", "NCCL_HOSTID"] {
        assert!(!step.contains_key(name), "{name}");
    }
    assert_eq!(step["FLEXMIG_MODE"], "relabel-p2p");
}

#[test]
fn off_leaves_everything_alone() {
    let before = env(&[("FLEXMIG_MODE", "off"), ("LD_PRELOAD", "/a.so"), ("NCCL_ALGO", "Ring")]);
    let (job, kept) = with(Mode::Off, &before, &[]);
    let mut expected = before.clone();
    expected.insert("FLEXMIG_MODE_REASON".into(), "because".into());
    assert_eq!((job, kept), (expected, vec![]));
    // Switched off between job and step.
    let (mut job, _) = with(Mode::RelabelShm, &env(&[("LD_PRELOAD", "/a.so")]), &[]);
    job.insert("FLEXMIG_MODE".into(), "off".into());
    let (step, _) = with(Mode::Off, &job, &[]);
    assert_eq!(withdrawn(step), env(&[("FLEXMIG_MODE", "off"), ("LD_PRELOAD", "/a.so")]));
}

#[test]
fn a_mode_that_there_is_not_stays_for_the_preload_library_to_tell() {
    let before = env(&[("FLEXMIG_MODE", "p2p")]);
    let made = settings(&resolved(None), &FILES, &|_| None, &|name| before.get(name).cloned());
    let job = apply(before, made.edits);
    assert_eq!(job["FLEXMIG_MODE"], "p2p");
    assert_eq!(job["LD_PRELOAD"], PRELOADED);
    assert!(!job.keys().any(|name| name.starts_with("NCCL_")), "{job:?}");
}

#[test]
fn the_library_is_preloaded_once() {
    let preload = |before: &str| {
        let before = env(&[("LD_PRELOAD", before)]);
        let (job, _) = with(Mode::RelabelShm, &before, &[]);
        let back = withdrawn(job.clone());
        (job["LD_PRELOAD"].clone(), back.get("LD_PRELOAD").cloned().unwrap_or_default())
    };
    let twice = |text: &str| (text.to_owned(), text.to_owned());
    assert_eq!(preload(""), (PRELOADED.to_owned(), String::new()));
    assert_eq!(preload("/a.so"), (format!("/a.so:{PRELOADED}"), "/a.so".to_owned()));
    assert_eq!(preload(PRELOADED), twice(PRELOADED), "the user's own entry stays");
    assert_eq!(preload(&format!("{PRELOADED} /a.so")), twice(&format!("{PRELOADED} /a.so")));
    assert_eq!(preload("/\u{fffd}.so"), twice("/\u{fffd}.so"));
}

#[test]
fn what_the_user_preloads_besides_survives_a_change_of_our_path() {
    let old = format!("/a.so:{PRELOADED} /b.so");
    let record = format!("LD_PRELOAD={PRELOADED}");
    let before = env(&[("LD_PRELOAD", &old), (RECORD, &record)]);
    let files = Files { preload: Some("/new/libflexmig_preload.so"), ..FILES };
    let made = settings(&resolved(Some(Mode::Native)), &files, &|_| None, &|name| {
        before.get(name).cloned()
    });
    let after = apply(before, made.edits);
    assert_eq!(after["LD_PRELOAD"], "/a.so:/b.so:/new/libflexmig_preload.so");
    // A module that sets the variable anew does not mean us.
    let (mut job, _) = with(Mode::Native, &Env::new(), &[]);
    job.insert("LD_PRELOAD".into(), "/darshan.so".into());
    let (step, _) = with(Mode::Native, &job, &[]);
    assert_eq!(step["LD_PRELOAD"], format!("/darshan.so:{PRELOADED}"));
}

#[test]
fn each_bound_task_is_a_host_of_its_own_in_mode_net() {
    let bound = |env: &Env, index| {
        let edits = bind("n1", index, &|name| env.get(name).cloned());
        apply(env.clone(), edits)
    };
    let (step, _) = with(Mode::Net, &Env::new(), &[]);
    assert_eq!(step["NCCL_HOSTID"], "n1");
    let task = bound(&step, 5);
    assert_eq!(task["NCCL_HOSTID"], "n1-5");
    assert_eq!(with(Mode::Net, &task, &[]).0["NCCL_HOSTID"], "n1", "a step of a task");
    assert_eq!(withdrawn(task), Env::new());
    let (users, _) = with(Mode::Net, &env(&[("NCCL_HOSTID", "x")]), &[]);
    assert_eq!(bound(&users, 5), users);
    let (relabelled, _) = with(Mode::RelabelShm, &Env::new(), &[]);
    assert_eq!(bound(&relabelled, 5), relabelled);
}

#[test]
fn nobody_elses_variables_can_be_withdrawn_by_a_forged_record() {
    let forged = env(&[("PATH", "/bin"), (RECORD, "PATH=/bin,,=,x,LD_PRELOAD=")]);
    assert_eq!(withdrawn(forged), env(&[("PATH", "/bin")]));
}
