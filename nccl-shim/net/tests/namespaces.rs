//! Ranks in namespaces of their own, as containers have them. Where namespaces may not be made, a
//! test says so in one line and passes.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::{Run, wait};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn another_pid_namespace() {
    let may = Command::new("unshare").args(["--pid", "--fork", "true"]).status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("skipped: unshare --pid is not allowed here");
        return;
    }
    for (liveness, seed) in [("auto", 15), ("lock", 16)] {
        let mut run = Run::new(2, 11).with("FLEXMIG_NET_LIVENESS", liveness);
        run.starters = vec![Vec::new(), words("unshare --pid --fork --kill-child")];
        run.all("exchange", &format!("300:{}:16:{seed}", 2 << 20));
    }
}

/// Two network namespaces with a cable between them. They end with this value.
struct Cable {
    holder: Child,
    /// A process in each.
    inside: [String; 2],
}

/// Its shell is in the first namespace, `sleep` in the second. It ends when its input does.
const SETUP: &str = r#"
    unshare --net sleep 600 & peer=$!
    trap 'kill $peer' EXIT
    until [ "$(readlink /proc/$peer/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.02; done
    ip link add fm0 type veth peer name fm1 netns $peer
    ip addr add 192.0.2.1/30 dev fm0
    ip link set fm0 up
    nsenter -t $peer -n ip addr add 192.0.2.2/30 dev fm1
    nsenter -t $peer -n ip link set fm1 up
    echo $$ $peer
    read _ || true
"#;

impl Cable {
    fn plug() -> Option<Cable> {
        let holder = Command::new("unshare")
            .args(["--net", "sh", "-ec", SETUP])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut holder = holder.ok()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take()?).read_line(&mut line).ok()?;
        match words(&line).try_into() {
            Ok(inside) => Some(Cable { holder, inside }),
            Err(_) => {
                wait(&mut holder, std::time::Duration::from_secs(10));
                None
            }
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

#[test]
fn another_network_namespace() {
    let Some(cable) = Cable::plug() else {
        eprintln!("skipped: network namespaces and veth are not allowed here");
        return;
    };
    let enter = |pid: &String| words(&format!("nsenter -t {pid} -n"));
    for sockets in ["1", "4"] {
        let mut run = Run::new(2, 11).with("FLEXMIG_NET_SOCKETS", sockets);
        run.starters = cable.inside.iter().map(enter).collect();
        // The cable's ends, not loopback.
        run.with("NCCL_SOCKET_IFNAME", "fm").all("exchange-tcp", &format!("200:{}:16:17", 1 << 20));
    }
}
