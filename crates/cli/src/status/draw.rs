//! The picture: a bar per GPU with a cell per leaf, as wide as the leaf has compute slices. A letter
//! is a job, a dot is free, a cross cannot be used.

use std::collections::BTreeMap;

use flexmig_core::hostlist;

use super::fold::{self, Level};
use super::report::{Gpu, Leaf, LeafState, Node, Report, TypeCount};
use crate::canvas::{Line, Paint, Style};
use crate::check::counted;
use crate::output::{cut, table};

/// Columns of a compute slice in a bar, without its border.
const SLICE: usize = 2;
/// Columns for the indices behind a bar.
const INDICES: usize = "  IDX 100-127".len();
/// Columns that bars keep within where the output has no limit.
const WIDTH: usize = 100;
/// Letters for jobs; those after the last share one sign.
const KEYS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LAST_KEY: char = '#';
/// Jobs listed below the picture, at most.
const JOBS: usize = 40;

/// The report as text. `named`: the user named the nodes, so each gets its picture.
pub fn text(report: &Report, named: bool, style: &Style) -> String {
    let drawing = Drawing { keys: keys(report), style };
    let mut text = String::new();
    drawing.write(&mut text, headline(report));
    let level = fold::level(report, named, &drawing);
    match &level {
        Level::Pictures => drawing.pictures(&mut text, &report.nodes),
        Level::Lines(groups) => drawing.lines(&mut text, groups),
        Level::Classes => drawing.classes(&mut text, &report.nodes),
    }
    drawing.jobs(&mut text, report, &level);
    for note in &report.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

fn headline(report: &Report) -> Line {
    let totals = &report.totals;
    let mut line = Line::new(
        Paint::Bold,
        format!("{} on {}", counted(totals.leaves, "leaf"), counted(totals.nodes, "node")),
    );
    line.push(Paint::Plain, format!(": {} used, {} free", totals.used, totals.free));
    if totals.unusable > 0 {
        line.push(Paint::Bad, format!(", {} unusable", totals.unusable));
    }
    if let Some(percent) = totals.fragmentation_percent {
        line.push(Paint::Plain, format!("; fragmentation {percent}%"));
    }
    let waiting = report.pending.len() as u64;
    let verb = if waiting == 1 { "waits" } else { "wait" };
    line.push(Paint::Plain, format!("; {} {verb} for leaves", counted(waiting, "job")));
    line
}

/// A letter per job, in order of the jobs.
fn keys(report: &Report) -> BTreeMap<&str, (usize, char)> {
    let letters = KEYS.chars().chain(std::iter::repeat(LAST_KEY));
    let ids = report.jobs.iter().map(|job| job.id.as_str());
    ids.zip(letters.enumerate()).collect()
}

/// What all parts of a picture share.
pub(super) struct Drawing<'a> {
    keys: BTreeMap<&'a str, (usize, char)>,
    style: &'a Style,
}

impl Drawing<'_> {
    fn write(&self, text: &mut String, line: Line) {
        line.write_to(text, self.style);
    }

    fn width(&self) -> usize {
        self.style.width.unwrap_or(WIDTH)
    }

    /// How a leaf looks.
    fn sign(&self, leaf: &Leaf) -> (Paint, char) {
        match leaf.state {
            LeafState::Free => (Paint::Good, self.style.pick('·', '.')),
            LeafState::Unusable => (Paint::Bad, self.style.pick('×', 'x')),
            LeafState::Used => {
                let key = leaf.job.as_deref().and_then(|id| self.keys.get(id));
                let (number, letter) = *key.unwrap_or(&(usize::MAX, LAST_KEY));
                (Paint::Thing(number), letter)
            }
        }
    }

    /// A block per node: a heading and a bar per GPU, or per type where parents are not known.
    fn pictures(&self, text: &mut String, nodes: &[Node]) {
        for node in nodes {
            text.push('\n');
            self.write(text, heading(node));
            let rows = rows(node);
            let label = rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0);
            for row in rows {
                self.bar(text, &row, label);
            }
        }
        if nodes.iter().any(|node| !node.leaves.is_empty()) {
            text.push('\n');
            self.write(text, self.legend());
        }
    }

    fn legend(&self) -> Line {
        let (free, unusable) = self.style.pick(("·", "×"), (".", "x"));
        let used = if self.keys.is_empty() { "# used" } else { "a letter: the job below" };
        Line::new(Paint::Dim, format!("{used}; {free} free; {unusable} unusable"))
    }

    /// One bar, on more than one line if it is too wide.
    fn bar(&self, text: &mut String, row: &Row, label: usize) {
        let border = self.style.pick("│", "|");
        let room = self.width().saturating_sub(label + 4 + INDICES).max(SLICE + 1);
        let mut chunks: Vec<(Line, Vec<u32>)> = Vec::new();
        for leaf in &row.leaves {
            let (paint, sign) = self.sign(leaf);
            let cell = usize::from(leaf.slices.unwrap_or(1).max(1)) * (SLICE + 1) - 1;
            if chunks.last().is_none_or(|(line, _)| line.width() + cell + 1 > room) {
                chunks.push((Line::new(Paint::Dim, border), Vec::new()));
            }
            if let Some((line, indices)) = chunks.last_mut() {
                line.push(paint, sign.to_string().repeat(cell));
                line.push(Paint::Dim, border);
                indices.push(leaf.index);
            }
        }
        for (place, (cells, indices)) in chunks.into_iter().enumerate() {
            let mut line = Line::new(Paint::Plain, "  ");
            line.push(Paint::Plain, if place == 0 { row.label.as_str() } else { "" });
            line.pad_to(label + 4);
            line.extend(cells);
            line.push(Paint::Dim, format!("  IDX {}", ranges(&indices)));
            if place == 0 {
                line.push(Paint::Plain, format!("  {}", row.about));
            }
            self.write(text, line);
        }
    }

    /// A line per node, a character per leaf; nodes that look the same share a line.
    fn lines(&self, text: &mut String, groups: &[Vec<&Node>]) {
        text.push('\n');
        let name = |group: &[&Node]| cut(&fold::names(group), 28);
        let times = |group: &[&Node]| match group.len() {
            1 => String::new(),
            count => format!("x{count}"),
        };
        let widest = |of: &dyn Fn(&[&Node]) -> String| {
            groups.iter().map(|group| of(group).chars().count()).max().unwrap_or(0)
        };
        let (names, counts) = (widest(&name), widest(&times));
        let states = widest(&|group| group[0].state.clone());
        for group in groups {
            let node = group[0];
            let mut line = Line::new(Paint::Bold, format!("{:names$}", name(group)));
            line.push(Paint::Plain, format!(" {:counts$}  ", times(group)));
            line.push(state_paint(node), format!("{:states$}  ", node.state));
            line.push(
                Paint::Plain,
                format!("{:>3} of {:<3} free  ", node.free(), node.configured()),
            );
            line.extend(self.signs(node));
            self.write(text, line);
        }
        self.write(text, self.legend());
    }

    /// A character per leaf, a blank between GPUs or types.
    pub(super) fn signs(&self, node: &Node) -> Line {
        let mut line = Line::default();
        for (place, row) in rows(node).iter().enumerate() {
            line.push(Paint::Plain, if place == 0 { "" } else { " " });
            for leaf in &row.leaves {
                let (paint, sign) = self.sign(leaf);
                line.push(paint, sign);
            }
        }
        line
    }

    /// A line per kind of node.
    fn classes(&self, text: &mut String, nodes: &[Node]) {
        text.push('\n');
        let row = |class: &fold::Class| {
            vec![
                cut(&fold::names(&class.nodes), 28),
                class.nodes.len().to_string(),
                type_list(&class.nodes[0].types),
                self.gauge(class),
                format!("{}%", class.used * 100 / class.leaves.max(1)),
                class.idle.to_string(),
                class.partly.to_string(),
                class.full.to_string(),
                class.down.to_string(),
                class.most_free.to_string(),
            ]
        };
        let columns = [
            ("NODES", false),
            ("COUNT", true),
            ("LEAVES EACH", false),
            ("USED", false),
            ("", true),
            ("IDLE", true),
            ("PARTLY", true),
            ("FULL", true),
            ("UNUSABLE", true),
            ("MOST FREE", true),
        ];
        let rows: Vec<Vec<String>> = fold::classes(nodes).iter().map(row).collect();
        for line in table(&columns, &rows).lines() {
            self.write(text, Line::new(Paint::Plain, line));
        }
        let hint = "name nodes to see their leaves: flexmig status NODE...";
        self.write(text, Line::new(Paint::Dim, hint));
    }

    /// Twenty columns: used, unusable, free.
    fn gauge(&self, class: &fold::Class) -> String {
        const COLUMNS: u64 = 20;
        let columns = |leaves: u64| (leaves * COLUMNS).div_ceil(class.leaves.max(1));
        let used = columns(class.used);
        let unusable = columns(class.unusable).min(COLUMNS - used);
        let piece = |unicode: char, ascii: char, count: u64| {
            self.style.pick(unicode, ascii).to_string().repeat(count.try_into().unwrap_or(0))
        };
        piece('█', '#', used)
            + &piece('×', 'x', unusable)
            + &piece('░', '.', COLUMNS - used - unusable)
    }

    /// Who holds leaves and who waits for them.
    fn jobs(&self, text: &mut String, report: &Report, level: &Level) {
        let shown = if matches!(level, Level::Classes) { 0 } else { JOBS };
        if !report.jobs.is_empty() && shown > 0 {
            let row = |job: &super::report::Holder| {
                let (number, letter) = self.keys[job.id.as_str()];
                let leaves = job.leaves.iter().map(|held| {
                    let idx = if held.indices.is_empty() {
                        String::new()
                    } else {
                        format!("({})", ranges(&held.indices))
                    };
                    format!("{}:{}{idx}", held.node, held.what)
                });
                let left = job.ends.map(|ends| duration(ends.saturating_sub(report.taken)));
                (
                    number,
                    vec![
                        letter.to_string(),
                        job.id.clone(),
                        job.user.clone(),
                        job.partition.clone(),
                        job.request.clone(),
                        left.unwrap_or_else(|| "-".into()),
                        leaves.collect::<Vec<_>>().join(" "),
                    ],
                )
            };
            let columns = [
                ("", false),
                ("JOB", true),
                ("USER", false),
                ("PARTITION", false),
                ("ASKED FOR", false),
                ("TIME LEFT", true),
                ("LEAVES", false),
            ];
            let (numbers, rows): (Vec<usize>, Vec<_>) =
                report.jobs.iter().take(shown).map(row).unzip();
            text.push('\n');
            self.table(text, &columns, &rows, |place| Paint::Thing(numbers[place]));
            more(text, report.jobs.len(), shown);
        }
        if !report.pending.is_empty() {
            let row = |job: &super::report::Waiting| {
                let start = job.start.filter(|&start| start > report.taken);
                vec![
                    job.id.clone(),
                    job.user.clone(),
                    job.partition.clone(),
                    job.request.clone(),
                    job.composition.clone(),
                    job.reason.clone(),
                    start.map_or_else(|| "-".into(), |start| duration(start - report.taken)),
                ]
            };
            let columns = [
                ("WAITS", true),
                ("USER", false),
                ("PARTITION", false),
                ("ASKED FOR", false),
                ("WAITS FOR", false),
                ("REASON", false),
                ("STARTS IN", true),
            ];
            let shown = shown.max(10);
            let rows: Vec<Vec<String>> = report.pending.iter().take(shown).map(row).collect();
            text.push('\n');
            self.table(text, &columns, &rows, |_| Paint::Plain);
            more(text, report.pending.len(), shown);
        }
    }

    /// A table whose first column is painted.
    fn table(
        &self,
        text: &mut String,
        columns: &[crate::output::Column],
        rows: &[Vec<String>],
        paint: impl Fn(usize) -> Paint,
    ) {
        for (place, row) in table(columns, rows).lines().enumerate() {
            let mut line = Line::default();
            let end = row.char_indices().nth(1).map_or(row.len(), |(end, _)| end);
            match place.checked_sub(1) {
                None => line.push(Paint::Dim, row),
                Some(place) => {
                    line.push(paint(place), &row[..end]);
                    line.push(Paint::Plain, &row[end..]);
                }
            }
            self.write(text, line);
        }
    }
}

fn more(text: &mut String, all: usize, shown: usize) {
    if all > shown {
        text.push_str(&format!("... and {} more: flexmig status --json has them\n", all - shown));
    }
}

fn state_paint(node: &Node) -> Paint {
    if node.usable { Paint::Plain } else { Paint::Bad }
}

/// `n1  mixed  7 of 14 leaves free, 12 of 16 CPUs, 60.2 of 62.5 GiB; fragmentation 0.25`
fn heading(node: &Node) -> Line {
    let gib = |mib: u64| format!("{:.0}", mib as f64 / 1024.0);
    let mut line = Line::new(Paint::Bold, node.name.clone());
    line.push(Paint::Plain, "  ");
    line.push(state_paint(node), node.state.clone());
    line.push(
        Paint::Plain,
        format!(
            "  free: {} of {}, {} of {} CPUs, {} of {} GiB",
            node.free(),
            counted(node.configured(), "leaf"),
            node.cpus_free,
            node.cpus,
            gib(node.memory_free_mib),
            gib(node.memory_mib),
        ),
    );
    if let Some(percent) = node.fragmentation_percent {
        line.push(Paint::Plain, format!("; fragmentation {percent}%"));
    }
    line
}

/// A bar to be drawn.
struct Row<'n> {
    label: String,
    about: String,
    leaves: Vec<&'n Leaf>,
}

/// A row per GPU, then one per type for the leaves of no known GPU.
fn rows(node: &Node) -> Vec<Row<'_>> {
    let of_gpu = |gpu: &Gpu| {
        let at = |&index: &u32| node.leaves.get(index as usize);
        let leaves: Vec<&Leaf> = gpu.leaves.iter().filter_map(at).collect();
        let numa = gpu.numa.map(|numa| format!(", NUMA {numa}")).unwrap_or_default();
        let model = gpu.model.strip_prefix("NVIDIA ").unwrap_or(&gpu.model);
        let about = format!("{} ({model}{numa})", kind_list(&leaves));
        Row { label: format!("GPU {}", gpu.minor), about, leaves }
    };
    let mut rows: Vec<Row> = node.gpus.iter().map(of_gpu).collect();
    let mut homeless: Vec<(&str, Vec<&Leaf>)> = Vec::new();
    for leaf in node.leaves.iter().filter(|leaf| leaf.gpu.is_none()) {
        let kind = leaf.kind.as_deref().unwrap_or("flexmig");
        match homeless.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, leaves)) => leaves.push(leaf),
            None => homeless.push((kind, vec![leaf])),
        }
    }
    rows.extend(homeless.into_iter().map(|(kind, leaves)| Row {
        label: kind.to_owned(),
        about: String::new(),
        leaves,
    }));
    rows
}

/// `3g.40gb, 2 x 1g.10gb`, in order.
fn kind_list(leaves: &[&Leaf]) -> String {
    let mut counts: Vec<(&str, u64)> = Vec::new();
    for leaf in leaves {
        let kind = leaf.kind.as_deref().or(leaf.profile.as_deref()).unwrap_or("leaf");
        match counts.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => counts.push((kind, 1)),
        }
    }
    list(counts)
}

/// The same of a node.
pub(super) fn type_list(types: &[TypeCount]) -> String {
    list(types.iter().map(|kind| (kind.kind.as_deref().unwrap_or("leaf"), kind.configured)))
}

fn list<'k>(counts: impl IntoIterator<Item = (&'k str, u64)>) -> String {
    let one = |(kind, count): (&str, u64)| match count {
        1 => kind.to_owned(),
        _ => format!("{count} x {kind}"),
    };
    counts.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `0-2,7`
pub(super) fn ranges(indices: &[u32]) -> String {
    let names = indices.iter().map(u32::to_string);
    let list = hostlist::compact(names);
    list.trim_matches(['[', ']']).to_owned()
}

/// As Slurm writes durations: `1-02:03:04`, `55:00`.
pub fn duration(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}:{rest:02}"),
        (0, _) => format!("{hours}:{minutes:02}:{rest:02}"),
        _ => format!("{days}-{hours:02}:{minutes:02}:{rest:02}"),
    }
}
