//! `flexmig simulate`, through the binary: every format, what is printed and written, and (in
//! `bad_input`) what it says about input that is no good. The traces are small and made for this.

mod bad_input;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

const PHILLY: &str = "philly.csv";

struct Ran {
    status: i32,
    stdout: String,
    stderr: String,
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn simulate(args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flexmig"));
    let output = command.arg("simulate").args(args).stdin(Stdio::null()).output().unwrap();
    Ran {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Of a trace in tests/data, on 4 GPUs of two nodes.
fn of(name: &str, format: &str, args: &[&str]) -> Ran {
    let file = data(name);
    let file = file.to_str().unwrap();
    let common = [
        "--trace",
        file,
        "--format",
        format,
        "--gpus",
        "4",
        "--gpus-per-node",
        "2",
        "--load",
        "1.2",
    ];
    simulate(&[&common[..], args].concat())
}

fn json(ran: &Ran) -> Value {
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

const POLICIES: [&str; 8] =
    ["static", "static-best", "drain", "dynamic", "flex-uniform", "flex", "flex-best", "pooled"];

#[test]
fn every_format_runs_under_every_policy() {
    for (name, format, jobs, skipped) in [
        (PHILLY, "philly", 60, 3),
        ("openb.csv", "openb", 40, 2),
        ("sacct.txt", "sacct", 40, 3),
        ("jobs.swf", "swf", 40, 1),
    ] {
        let json = json(&of(name, format, &["--policy", "all", "--seed", "1", "--json"]));
        assert_eq!(json["version"], 1);
        assert_eq!(json["input"]["format"], format);
        assert_eq!(json["input"]["jobs"], jobs, "{name}");
        assert_eq!(json["input"]["skipped"], skipped, "{name}");
        assert_eq!(json["cluster"]["model"], "a100-80");
        let results = json["results"].as_array().unwrap();
        let policies: Vec<&str> = results.iter().map(|r| r["policy"].as_str().unwrap()).collect();
        assert_eq!(policies, POLICIES);
        for result in results {
            let number = |field: &str| {
                result[field].as_f64().unwrap_or_else(|| panic!("{name}: {field} in {result}"))
            };
            assert_eq!(number("seed"), 1.0);
            assert_eq!(number("jobs") + number("unplaced_jobs"), f64::from(jobs), "{result}");
            assert!(number("makespan_s") > 0.0 && number("mean_wait_s") >= 0.0, "{result}");
            assert!(number("mean_jct_s") > number("mean_wait_s"), "{result}");
            // Within the 1 % that it may be off.
            assert!(number("p95_jct_s") * 1.02 >= number("p95_wait_s"), "{result}");
            for share in ["utilisation_sm", "utilisation_memory", "fragmentation"] {
                assert!((0.0..=1.0).contains(&number(share)), "{share} in {result}");
            }
            let pooled = result["policy"] == "pooled" || result["policy"] == "dynamic";
            assert_eq!(result["layout"].is_null(), pooled, "{result}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_result() {
    for scheduler in ["easy", "slurm"] {
        let run = |seed: &str, threads: &str| {
            let args = [
                "--policy",
                "static,flex,dynamic",
                "--scheduler",
                scheduler,
                "--seed",
                seed,
                "--threads",
                threads,
            ];
            let ran = of(PHILLY, "philly", &[&args[..], &["--json"]].concat());
            json(&ran)["results"].clone()
        };
        let two = run("1,2", "1");
        assert_eq!(two, run("1,2", "3"), "{scheduler}");
        let second = run("2", "2");
        let of_two = two.as_array().unwrap().iter().filter(|result| result["seed"] == 2);
        assert_eq!(second, of_two.cloned().collect::<Value>());
        assert_ne!(second[0]["makespan_s"], run("1", "2")[0]["makespan_s"]);
    }
}

#[test]
fn bad_rows_are_counted_with_their_lines() {
    let ran = of(PHILLY, "philly", &["--policy", "static"]);
    let told: Vec<&str> = ran.stderr.lines().collect();
    let file = data(PHILLY);
    let file = file.display();
    assert_eq!(
        told,
        [
            format!("flexmig: {file}: 1 row skipped: duration is no number (line 13)"),
            format!("flexmig: {file}: 1 row skipped: timestamp is no time (line 34)"),
            format!("flexmig: {file}: 1 row skipped: ran for no time (line 36)"),
        ]
    );
    let json = json(&of(PHILLY, "philly", &["--policy", "static", "--json"]));
    let row = &json["input"]["skipped_rows"][0];
    assert_eq!((&row["line"], &row["why"]), (&13.into(), &"duration is no number: None".into()));
    assert_eq!(json["input"]["skipped_reasons"][0]["count"], 1);
}

#[test]
fn the_table_says_what_was_simulated_and_compares() {
    let ran = of(PHILLY, "philly", &["--policy", "flex,static", "--seed", "1-3", "--single-gpu"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    for part in
        ["Cluster: 4 a100-80 on 2 nodes\n", "of several GPUs left out\n", "Seeds: 1, 2, 3\n"]
    {
        assert!(ran.stdout.contains(part), "{part} in {}", ran.stdout);
    }
    let below = ran.stdout.lines().skip_while(|line| !line.is_empty()).skip(1);
    let table: Vec<&str> = below.take_while(|line| !line.is_empty()).collect();
    assert!(table[0].starts_with("POLICY") && table[0].ends_with("NEVER FIT"), "{table:?}");
    let words: Vec<&str> = table[2].split_whitespace().collect();
    assert_eq!((words[0], words[2]), ("static", "1.000"), "{table:?}");
    assert_eq!(table.len(), 3);
    let told = "\nMedians of 3 seeds; REL is the median of the seeds' ratios to static\n";
    assert!(ran.stdout.ends_with(told), "{}", ran.stdout);
}

#[test]
fn generated_jobs_need_no_file() {
    let args = ["--generate", "200", "--gpus", "4", "--model", "h100-80", "--mix", "small"];
    let json = json(&simulate(&[&args[..], &["--policy", "flex,pooled", "--json"]].concat()));
    assert_eq!(json["input"]["jobs"], 200);
    assert_eq!(json["input"]["mix"], "small");
    assert!(json["input"]["trace"].is_null());
    assert_eq!(json["results"].as_array().unwrap().len(), 2);
}

#[test]
fn layouts_and_oversize_are_obeyed() {
    let run = |args: &[&str]| {
        let args = [&["--policy", "static,flex", "--single-gpu", "--json"], args].concat();
        json(&of(PHILLY, "philly", &args))["results"].clone()
    };
    let own = run(&["--layout", "flex=7x1g", "--layout", "2x3g"]);
    assert_eq!(own[0]["layout"], "2x3g.40gb");
    assert_eq!(own[1]["layout"], "7x1g.10gb");
    assert_eq!(own[0]["unplaced_jobs"], 0);
    let rejected = run(&["--layout", "7x1g", "--oversize", "reject", "--mix", "0:0:0:1:1"]);
    assert!(rejected[0]["unplaced_jobs"].as_u64() > Some(10), "{rejected}");
    assert_eq!(rejected[1]["unplaced_jobs"], 0);
}

#[test]
fn the_csv_has_a_line_per_policy_and_seed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("results.csv");
    let args = ["--policy", "static,flex", "--seed", "1-2", "--csv", file.to_str().unwrap()];
    assert_eq!(of(PHILLY, "philly", &args).status, 0);
    let text = fs::read_to_string(file).unwrap();
    let starts: Vec<String> =
        text.lines().map(|line| line.split(',').take(2).collect::<Vec<_>>().join(",")).collect();
    assert_eq!(starts, ["policy,seed", "static,1", "static,2", "flex,1", "flex,2"]);
}

#[test]
fn the_report_has_its_plots_and_needs_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.html");
    let args = ["--policy", "all", "--seed", "1-2", "--report", file.to_str().unwrap()];
    assert_eq!(of(PHILLY, "philly", &args).status, 0);
    let page = fs::read_to_string(file).unwrap();
    for part in [
        "<h2>Figures</h2>",
        "Medians of 2 seeds",
        "Makespan over that of static with the same seed; a dot is a seed",
        "Mean job completion time",
        "<h2>Over time (seed 1)</h2>",
        "SMs that is in leaves with jobs",
        "Jobs that wait",
        "Fragments",
        "Share of the jobs that is done so long after its submission",
        "<h2>Timeline of leaves (seed 1)</h2>",
        "Leaves under flex-uniform",
        "<h2>Model</h2>",
        "drain_seconds",
        "prefers-color-scheme: dark",
        "ran for no time (line 36)",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    // Four of bars, four of curves, and a timeline per policy.
    assert_eq!(page.matches("<figure>").count(), 8 + POLICIES.len());
    assert_eq!(page.matches("<svg ").count(), page.matches("</svg>").count());
    for policy in POLICIES {
        assert!(page.contains(&format!("<tr><th>{policy}</th>")), "{policy} is not in the table");
        assert!(page.contains(&format!("class=\"bar p-{policy}\"")), "{policy} has no bar");
        assert!(page.contains(&format!("id=\"p-{policy}\"")), "{policy} is not in the legend");
    }
    assert!(!page.contains("=\"-") && !page.contains("NaN") && !page.contains("inf"));
    for reference in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(reference), "{reference}");
    }
}

#[test]
fn jobs_that_never_fit_are_told_wherever_policies_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.html");
    let file = file.to_str().unwrap();
    let common = ["--policy", "static", "--single-gpu", "--oversize", "reject", "--report", file];
    for (mix, told) in
        [("1:0:0:0:1", "jobs never fit (seed 1); its"), ("0:0:0:0:1", "none of 42 jobs ever fits")]
    {
        let ran =
            of(PHILLY, "philly", &[&common[..], &["--layout", "7x1g", "--mix", mix]].concat());
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let page = fs::read_to_string(file).unwrap();
        for text in [&ran.stdout, &page] {
            assert!(text.contains(told), "{told} in {text}");
        }
        assert!(!page.contains("NaN") && !page.contains("Shortest"), "{page}");
    }
}

#[test]
fn the_sensitivity_names_a_winner_per_value() {
    let json =
        json(&of(PHILLY, "philly", &["--policy", "drain,flex,pooled", "--sensitivity", "--json"]));
    let rows = json["sensitivity"].as_array().unwrap();
    let of = |number: &str| rows.iter().filter(|row| row["number"] == number).collect::<Vec<_>>();
    for number in ["communication", "drain_seconds", "cost_across", "speed_below"] {
        assert!(of(number).len() >= 4, "{number}");
        assert_eq!(of(number).iter().filter(|row| row["unchanged"] == true).count(), 1);
    }
    let makespan =
        |row: &Value, place: usize| row["makespans"][place]["makespan_s"].as_f64().unwrap();
    for row in rows {
        let winner = row["winner"].as_str().unwrap();
        assert!(winner == "drain" || winner == "flex", "{row}");
        let best = if makespan(row, 0) <= makespan(row, 1) { "drain" } else { "flex" };
        assert_eq!(winner, best, "{row}");
        if row["unchanged"] == true {
            assert_eq!(makespan(row, 0), json["results"][0]["makespan_s"].as_f64().unwrap());
        }
    }
    // What makes leaves dearer makes flex slower.
    let communication = of("communication");
    let (first, last) = (communication[0], communication[communication.len() - 1]);
    assert!(makespan(first, 1) < makespan(last, 1), "{first} {last}");
}

#[test]
fn the_model_can_be_printed_edited_and_read() {
    let printed = simulate(&["--print-model"]);
    assert_eq!(printed.status, 0);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model.toml");
    let run = |text: &str| {
        fs::write(&file, text).unwrap();
        let path = file.to_str().unwrap();
        of(PHILLY, "philly", &["--policy", "drain", "--json", "--model-file", path])
    };
    let same = json(&run(&printed.stdout));
    assert_eq!(same["performance"]["drain_seconds"], 180.0);
    let slow = json(&run("drain_seconds = 3600.0\n"));
    assert_eq!(slow["performance"]["drain_seconds"], 3600.0);
    let makespan = |json: &Value| json["results"][0]["makespan_s"].as_f64().unwrap();
    assert!(makespan(&slow) > makespan(&same));
    let broken = run("drain = 1\n");
    assert_eq!(broken.status, 1);
    assert_eq!(broken.stderr.lines().count(), 1, "{}", broken.stderr);
    assert!(
        broken.stderr.contains("model.toml: line 1: ")
            && broken.stderr.contains("unknown field `drain`")
    );
    let wrong = run("cost_across = -1.0\n");
    assert!(wrong.stderr.contains("cost_across = -1: out of range"), "{}", wrong.stderr);
}

#[test]
fn the_command_for_ones_own_cluster_is_printed() {
    let ran = simulate(&["--print-sacct"]);
    assert!(ran.stdout.starts_with("sacct --allusers ") && ran.stdout.ends_with("> trace.txt\n"));
    assert_eq!((ran.status, ran.stdout.lines().count()), (0, 1));
}

#[test]
fn the_guide_has_the_model_and_the_policies() {
    const GUIDE: &str = include_str!("../../../../docs/simulator.md");
    let model: toml::Table = simulate(&["--print-model"]).stdout.parse().unwrap();
    assert!(model.len() >= 8);
    for (name, value) in &model {
        let row = GUIDE.lines().find(|line| line.starts_with(&format!("| `{name}` | ")));
        let row = row.unwrap_or_else(|| panic!("docs/simulator.md has no {name}"));
        let told = row.split('|').nth(2).unwrap().trim();
        assert_eq!(told.parse::<f64>().ok(), value.as_float(), "{row}");
    }
    for policy in POLICIES {
        assert!(GUIDE.contains(&format!("| `{policy}` | ")), "docs/simulator.md has no {policy}");
    }
    for format in ["philly", "openb", "sacct", "swf"] {
        assert!(GUIDE.contains(&format!("| `{format}` | ")), "docs/simulator.md has no {format}");
    }
}
