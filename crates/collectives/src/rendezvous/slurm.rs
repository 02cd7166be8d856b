//! Ranks that srun started: what its environment says, and where rank 0 can be reached.
//!
//! No variable holds the address of rank 0's node: SLURM_LAUNCH_NODE_IPADDR and SLURM_SRUN_COMM_HOST
//! are srun's own, and srun may run on a login node. So rank 0 listens on a port that follows from job
//! and step, and the others try the addresses of all nodes of the step; who is not the coordinator of
//! this step does not know its cookie.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use super::{Coordinator, Place, Session};
use crate::error::Error;

/// Ports below those that Linux gives to clients (32768 and up), above those of services.
const FIRST_PORT: u32 = 20_000;
const PORTS: u32 = 12_000;
/// How many ports in a row rank 0 may choose from, as some may be taken.
const ATTEMPTS: u32 = 8;
/// srun may start the tasks of slow nodes late.
const JOINING: Duration = Duration::from_secs(60);
/// Nodes whose addresses are tried; rank 0 is on the first but with --distribution=arbitrary.
pub const MAX_NODES: usize = 64;

/// A step of several tasks, as one of its tasks sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// This task among all tasks.
    pub place: Place,
    /// The step's nodes as Slurm writes them, `n[1-2]`.
    pub nodes: String,
    /// Whether all tasks are on one node.
    pub one_node: bool,
    cookie: u64,
}

impl Step {
    /// From the variables of a task. `Ok(None)`: not a task of a step that has several.
    pub fn of_environment(get: impl Fn(&str) -> Option<String>) -> Result<Option<Step>, Error> {
        // SLURM_STEP_ID is what a batch script does not have (older releases: SLURM_STEPID).
        let Some(step) = get("SLURM_STEP_ID").or_else(|| get("SLURM_STEPID")) else {
            return Ok(None);
        };
        let number = |name: &str| {
            let text = get(name).unwrap_or_default();
            let wrong = |_| Error::Rendezvous(format!("{name}={text}: not as srun sets it"));
            text.parse::<usize>().map_err(wrong)
        };
        let ranks = number("SLURM_STEP_NUM_TASKS")?;
        if ranks < 2 {
            return Ok(None);
        }
        let rank = number("SLURM_PROCID")?;
        if rank >= ranks {
            return Err(Error::Rendezvous(format!(
                "SLURM_PROCID={rank} with SLURM_STEP_NUM_TASKS={ranks}: not as srun sets them"
            )));
        }
        let nodes = get("SLURM_STEP_NODELIST").unwrap_or_default();
        let word = |name: &str| get(name).unwrap_or_default();
        let (cluster, job, user) =
            (word("SLURM_CLUSTER_NAME"), word("SLURM_JOB_ID"), word("SLURM_JOB_UID"));
        let identity = format!("flexmig bench 1|{cluster}|{user}|{job}|{step}|{nodes}");
        Ok(Some(Step {
            place: Place { rank, ranks },
            one_node: word("SLURM_STEP_NUM_NODES") == "1",
            nodes,
            cookie: hash(identity.as_bytes()),
        }))
    }

    fn ports(&self) -> impl Iterator<Item = u16> {
        let first = (self.cookie % u64::from(PORTS)) as u32;
        (0..ATTEMPTS).map(move |attempt| (FIRST_PORT + (first + attempt) % PORTS) as u16)
    }

    /// Joins the step's group. Rank 0 coordinates it in a thread.
    ///
    /// `hosts` are names or addresses of the step's nodes, the first node first.
    pub fn join(&self, hosts: &[String], patience: Duration) -> Result<Session, Error> {
        if self.place.rank == 0 {
            let listener = self.listen()?;
            let port = listener.local_addr().map_err(|e| Error::host("listening", e))?.port();
            let coordinator = Coordinator::new(listener, self.cookie, self.place.ranks, JOINING);
            // The reason of a failure reaches this rank as it reaches the others.
            let thread = thread::spawn(move || drop(coordinator.serve(|| None)));
            let own = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            return match self.attempt(own, patience) {
                Some(session) => Ok(session.with_coordinator(thread)),
                None => Err(Error::Rendezvous(format!("rank 0 cannot connect to its own {own}"))),
            };
        }
        let deadline = Instant::now() + JOINING;
        loop {
            for address in self.addresses(hosts) {
                if let Some(session) = self.attempt(address, patience) {
                    return Ok(session);
                }
                if Instant::now() > deadline {
                    return Err(self.unreachable(hosts));
                }
            }
            if Instant::now() > deadline {
                return Err(self.unreachable(hosts));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Everywhere on this host, as it is not known by which address the others come.
    fn listen(&self) -> Result<TcpListener, Error> {
        let mut last = None;
        for port in self.ports() {
            let bound = if self.one_node {
                TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            } else {
                // One socket for both families; hosts without IPv6 have only the other.
                TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                    .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
            };
            match bound {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        let ports: Vec<u16> = self.ports().collect();
        let error = last.unwrap_or_else(|| io::Error::other("no port"));
        Err(Error::host(format!("listening on ports {ports:?}"), error))
    }

    /// Where the coordinator may be: on this host (two nodes of a test can share one), else on a node
    /// of the step.
    fn addresses(&self, hosts: &[String]) -> Vec<SocketAddr> {
        let mut found = Vec::new();
        let others = if self.one_node { &[][..] } else { hosts };
        let all = std::iter::once("127.0.0.1").chain(others.iter().map(String::as_str));
        for host in all {
            for port in self.ports() {
                // A name that cannot be resolved is one address less.
                if let Ok(resolved) = (host, port).to_socket_addrs() {
                    found.extend(resolved);
                } else {
                    break;
                }
            }
        }
        let mut seen = std::collections::HashSet::new();
        found.retain(|address| seen.insert(*address));
        found
    }

    fn attempt(&self, address: SocketAddr, patience: Duration) -> Option<Session> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok()?;
        Session::join(stream, self.cookie, self.place, "rank 0", patience).ok().flatten()
    }

    fn unreachable(&self, hosts: &[String]) -> Error {
        let ports: Vec<u16> = self.ports().collect();
        Error::Rendezvous(format!(
            "rank {} cannot reach rank 0 on {} ports {}-{}: open these ports between the nodes, or \
             name rank 0's node with --host",
            self.place.rank,
            if hosts.is_empty() { "this node".to_owned() } else { hosts.join(", ") },
            ports.iter().min().copied().unwrap_or_default(),
            ports.iter().max().copied().unwrap_or_default(),
        ))
    }
}

/// FNV-1a, 64 bits: the same in every task, on every release of the standard library.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: [(&str, &str); 8] = [
        ("SLURM_STEP_ID", "0"),
        ("SLURM_STEP_NUM_TASKS", "4"),
        ("SLURM_STEP_NUM_NODES", "2"),
        ("SLURM_PROCID", "3"),
        ("SLURM_STEP_NODELIST", "n[1-2]"),
        ("SLURM_JOB_ID", "7"),
        ("SLURM_JOB_UID", "0"),
        ("SLURM_CLUSTER_NAME", "c"),
    ];

    fn step(changes: &[(&str, Option<&str>)]) -> Result<Option<Step>, Error> {
        Step::of_environment(|name| {
            let changed = changes.iter().find(|(key, _)| *key == name);
            let given = TASK.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
            changed.map_or(given, |(_, value)| *value).map(str::to_owned)
        })
    }

    #[test]
    fn tasks_of_one_step_agree_and_others_do_not() {
        let one = step(&[]).unwrap().unwrap();
        assert_eq!((one.place, one.one_node), (Place { rank: 3, ranks: 4 }, false));
        let other = step(&[("SLURM_PROCID", Some("0"))]).unwrap().unwrap();
        assert_eq!(one.cookie, other.cookie);
        assert!(one.ports().eq(other.ports()));
        for change in ["SLURM_STEP_ID", "SLURM_JOB_ID", "SLURM_CLUSTER_NAME", "SLURM_JOB_UID"] {
            let other = step(&[(change, Some("9"))]).unwrap().unwrap();
            assert_ne!(one.cookie, other.cookie, "{change}");
        }
        let ports: Vec<u16> = one.ports().collect();
        assert_eq!(ports.len(), 8);
        assert!(ports.iter().all(|port| (20_000..32_000).contains(port)));
    }

    #[test]
    fn batch_scripts_and_steps_of_one_task_are_no_group() {
        assert_eq!(step(&[("SLURM_STEP_ID", None)]).unwrap(), None);
        assert_eq!(step(&[("SLURM_STEP_NUM_TASKS", Some("1"))]).unwrap(), None);
    }

    #[test]
    fn what_srun_would_not_set_is_refused() {
        for change in [("SLURM_PROCID", "4"), ("SLURM_PROCID", "x"), ("SLURM_STEP_NUM_TASKS", "")] {
            let error = step(&[(change.0, Some(change.1))]).unwrap_err().to_string();
            assert!(error.contains("as srun sets") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn four_tasks_find_each_other_with_the_port_taken_by_a_stranger() {
        let base = std::process::id().to_string();
        let own = |rank: &str| step(&[("SLURM_JOB_ID", Some(&base)), ("SLURM_PROCID", Some(rank))]);
        let first = own("0").unwrap().unwrap();
        // Somebody who never answers holds the first port.
        let _stranger = TcpListener::bind((Ipv6Addr::UNSPECIFIED, first.ports().next().unwrap()));
        let join = |rank: usize| {
            let step = own(&rank.to_string()).unwrap().unwrap();
            thread::spawn(move || {
                let hosts = ["no-such-host.invalid".to_owned(), "127.0.0.1".to_owned()];
                let session = step.join(&hosts, Duration::from_secs(30)).unwrap();
                let numbers = session.numbers(rank as u64 * 10).unwrap();
                session.end(Ok(())).unwrap();
                numbers
            })
        };
        let ranks: Vec<_> = [3, 1, 0, 2].map(join).into_iter().collect();
        for rank in ranks {
            assert_eq!(rank.join().unwrap(), [0, 10, 20, 30]);
        }
    }
}
