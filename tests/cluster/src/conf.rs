//! The text of slurm.conf and cgroup.conf. Pure.

use std::fmt::Write as _;
use std::path::Path;

use crate::ports::Ports;
use crate::release::Release;
use crate::spec::{Auth, Builder, Node, Plugins};

/// Name of the host of the slurmctld that stands by.
pub(crate) const BACKUP_HOST: &str = "flexmig-backup";

/// What slurm.conf needs beyond the builder.
pub(crate) struct Facts<'a> {
    pub dir: &'a Path,
    /// Short host name of this machine.
    pub host: &'a str,
    /// SlurmUser and SlurmdUser.
    pub user: u32,
    pub ports: &'a Ports,
}

/// The text of slurm.conf.
pub(crate) fn slurm_conf(builder: &Builder, facts: &Facts) -> String {
    let Facts { dir, host, user, .. } = facts;
    let dir = dir.display();
    // A name of its own: ranks of several clusters on one host tell their own from others by it.
    let mut text = format!(
        "ClusterName=flexmig{port}\n\
         SlurmctldHost={host}(127.0.0.1)\n\
         SlurmctldPort={port}\n\
         SlurmUser={user}\nSlurmdUser={user}\n\
         StateSaveLocation={dir}/state\n\
         SlurmdSpoolDir={dir}/spool/%n\n\
         SlurmctldPidFile={dir}/run/slurmctld.pid\n\
         SlurmdPidFile={dir}/run/slurmd-%n.pid\n\
         SlurmctldLogFile={dir}/log/slurmctld.log\n\
         SlurmdLogFile={dir}/log/slurmd-%n.log\n\
         SlurmctldDebug=debug\nSlurmdDebug=debug\n\
         SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\n\
         SlurmdParameters=config_overrides\n\
         SchedulerParameters={scheduler}\n\
         MpiDefault=none\nReturnToService=2\nKillWait=2\nCompleteWait=0\n\
         TreeWidth=65533\n",
        port = facts.ports.get(0),
        scheduler = builder.scheduler_parameters,
    );
    let mut line = |key: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{key}={value}");
        }
    };
    if builder.backup {
        // Each on an address of its own, as both listen on one port.
        line("SlurmctldHost", &format!("{BACKUP_HOST}(127.0.0.2)"));
        line("CommunicationParameters", "NoCtldInAddrAny");
        line("SlurmctldTimeout", "6");
    }
    match builder.auth {
        Auth::Munge => {
            line("AuthType", "auth/munge");
            line("CredType", "cred/munge");
            line("AuthInfo", &format!("socket={dir}/munge/socket"));
        }
        Auth::None => {
            line("AuthType", "auth/none");
            line("CredType", "cred/none");
        }
    }
    let (proctrack, task) = match builder.cgroups {
        true => ("proctrack/cgroup", "task/cgroup"),
        false => ("proctrack/pgid", "task/none"),
    };
    line("ProctrackType", proctrack);
    line("TaskPlugin", task);
    let ours = builder.plugins != Plugins::None;
    if ours {
        line("PluginDir", &format!("{dir}/plugins:/usr/lib/x86_64-linux-gnu/slurm-wlm"));
    }
    let job_submit = if ours { "flexmig" } else { "" };
    line("JobSubmitPlugins", builder.job_submit.as_deref().unwrap_or(job_submit));
    line("GresTypes", &builder.gres_types.clone().unwrap_or_else(|| gres_names(&builder.nodes)));
    text.push_str(&builder.slurm_conf);
    for (index, node) in builder.nodes.iter().enumerate() {
        text.push_str(&node_line(node, host, facts.ports.get(index + 1)));
    }
    let all = "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n";
    text.push_str(builder.partitions.as_deref().unwrap_or(all));
    text.push('\n');
    text
}

fn node_line(node: &Node, host: &str, port: u16) -> String {
    let gres = if node.gres.is_empty() { String::new() } else { format!(" Gres={}", node.gres) };
    format!(
        "NodeName={} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={} Sockets={} \
         CoresPerSocket={} ThreadsPerCore=1 RealMemory={}{gres} {}\n",
        node.name,
        node.cpus,
        node.sockets,
        node.cpus / node.sockets,
        node.memory,
        node.conf,
    )
}

/// The GRES names of all nodes. gpu goes first: gres/gpu clears variables that flexmig sets.
fn gres_names(nodes: &[Node]) -> String {
    let items = nodes.iter().flat_map(|node| node.gres.split(','));
    let mut names: Vec<&str> = items.filter_map(|item| item.split(':').next()).collect();
    names.retain(|name| !name.is_empty());
    names.sort_by_key(|name| (*name != "gpu", *name));
    names.dedup();
    names.join(",")
}

/// The text of cgroup.conf, if there is to be one.
pub(crate) fn cgroup_conf(builder: &Builder, release: Release) -> Option<String> {
    let own = match builder.cgroups {
        true => "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nConstrainDevices=yes\n",
        // From 23.11 every slurmd asks for a cgroup plugin unless told not to.
        false if release >= Release(23, 11) => "CgroupPlugin=disabled\n",
        false => "",
    };
    let text = format!("{own}{}", builder.cgroup_conf);
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slurm_conf_names_nodes_ports_and_gres() {
        let ports = Ports::claim(3).unwrap();
        let builder = Builder::default()
            .node(Node::new("n1").gres("flexmig:1g.10gb:14,gpu:2"))
            .nodes(1, |_| Node::new("x").cpus(8, 2).conf("Weight=3"))
            .slurm_conf("MinJobAge=5");
        let facts = Facts { dir: Path::new("/tmp/c"), host: "vm", user: 0, ports: &ports };
        let text = slurm_conf(&builder, &facts);
        assert!(text.contains("\nGresTypes=gpu,flexmig\n"), "{text}");
        assert!(text.contains("\nMinJobAge=5\n"), "{text}");
        assert!(!text.contains("PluginDir"), "{text}");
        let node = format!(
            "\nNodeName=x NodeHostname=vm NodeAddr=127.0.0.1 Port={} CPUs=8 Sockets=2 \
             CoresPerSocket=4 ThreadsPerCore=1 RealMemory=64000 Weight=3\n",
            ports.get(2)
        );
        assert!(text.contains(&node), "{text}");
    }

    #[test]
    fn cgroups_are_switched_off_where_slurm_would_want_them() {
        let builder = Builder::default();
        assert_eq!(cgroup_conf(&builder, Release(22, 5)), None);
        let text = cgroup_conf(&builder, Release(24, 11)).unwrap();
        assert_eq!(text, "CgroupPlugin=disabled\n");
        assert!(cgroup_conf(&builder.cgroups(), Release(24, 11)).unwrap().contains("v1"));
    }
}
