//! Mock nodes for shell scripts: print a preset as TOML, build a node's `dev` and `proc` trees.

use std::path::Path;
use std::process::ExitCode;

use mock_nvml::{DeviceKind, Error, Node, NodeSpec};

const USAGE: &str = "\
usage: mock-node preset NAME [--name NODE] [--gpus N] [--mig LAYOUT] [--cpus LIST]
       mock-node tree NODE.toml DIR [--first-minor N]
       mock-node leaves NODE.toml

preset prints TOML; NAME is dgx-a100, dgx-a100-40, hgx-h100, h200 or a30, LAYOUT as 1g.10gb*7 or
3g.40gb,1c.2g.20gb*2. tree builds DIR/dev and DIR/proc, with regular files for devices, or with
character devices 4:N and up (needs root). leaves prints GPU, instance ids, profile and UUID.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("mock-node: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<String, String> {
    let message = |error: Error| error.to_string();
    match arguments {
        ["preset", name, options @ ..] => {
            let mut spec = NodeSpec::preset(name).map_err(message)?;
            for pair in options.chunks(2) {
                spec = match pair {
                    ["--name", value] => spec.named(value),
                    ["--gpus", value] => spec.gpus(value.parse().map_err(|_| USAGE)?),
                    ["--mig", value] => spec.mig(value),
                    ["--cpus", value] => spec.cpus(value),
                    _ => return Err(USAGE.to_owned()),
                };
            }
            let text = spec.to_toml();
            Node::new(spec).map_err(message)?;
            Ok(text)
        }
        ["tree", file, dir, options @ ..] => {
            let kind = match options {
                [] => DeviceKind::Regular,
                ["--first-minor", value] => {
                    DeviceKind::Char { major: 4, first_minor: value.parse().map_err(|_| USAGE)? }
                }
                _ => return Err(USAGE.to_owned()),
            };
            let node = Node::from_file(Path::new(file)).map_err(message)?;
            node.build_tree(Path::new(dir), kind).map_err(message)?;
            Ok(String::new())
        }
        ["leaves", file] => {
            let node = Node::from_file(Path::new(file)).map_err(message)?;
            let lines = node.gpus.iter().flat_map(|gpu| {
                gpu.leaves.iter().map(|leaf| {
                    let (gi, ci) = (leaf.gi, leaf.compute.id);
                    format!("gpu{}/gi{gi}/ci{ci} {} {}\n", gpu.minor, leaf.profile, leaf.uuid)
                })
            });
            Ok(lines.collect())
        }
        _ => Err(USAGE.to_owned()),
    }
}
