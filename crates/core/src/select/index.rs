//! What is free on the nodes of a partition, aggregated so that looking something up does not cost
//! more with more nodes.
//!
//! For requests of one type there is a table of how many nodes have at least so many leaves, CPUs,
//! MiB and minutes; steps on the axes are the values that nodes have, or some of them where there
//! are many. Requests of several types are held against a limited number of different nodes. Both
//! err on the side of "has to wait".

use std::collections::HashMap;

/// Most steps on the axes of leaves, CPUs, memory and minutes.
const STEPS: [usize; 4] = [64, 12, 8, 4];
/// Most different nodes that are kept for requests of several types.
const SAMPLES: usize = 128;

/// What one node has free, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    /// Minutes until something else is planned on it; 0: nothing starts, `u64::MAX`: no end known.
    pub minutes: u64,
    /// Free leaves of each type.
    pub free: Vec<u64>,
    /// Free CPUs.
    pub cpus: u64,
    /// Free memory in MiB.
    pub memory: u64,
}

/// What a job needs on each of its nodes, beside leaves.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// CPUs.
    pub cpus: u64,
    /// Memory in MiB.
    pub memory: u64,
    /// Minutes; `u64::MAX` without a limit.
    pub minutes: u64,
}

/// The nodes of a partition.
#[derive(Clone, Debug, Default)]
pub struct Index {
    tables: Vec<Table>,
    /// Different nodes and how many there are of each.
    samples: Vec<(Row, u64)>,
    free: Vec<u64>,
}

impl Index {
    /// From the nodes; `kinds` is the number of types.
    pub fn new(kinds: usize, rows: Vec<Row>) -> Index {
        let rows: Vec<Row> = rows.into_iter().filter(|row| row.minutes > 0).collect();
        let steps = |of: fn(&Row) -> u64, most| Axis::new(rows.iter().map(of).collect(), most);
        let [leaves, cpus, memory, minutes] = STEPS;
        let axes = [
            steps(|row| row.cpus, cpus),
            steps(|row| row.memory, memory),
            steps(|row| row.minutes, minutes),
        ];
        let tables = (0..kinds).map(|kind| Table::new(kind, &rows, &axes, leaves)).collect();
        let free = |kind: usize| rows.iter().map(|row| row.free[kind]).fold(0, u64::saturating_add);
        let free = (0..kinds).map(free).collect();
        let mut counted: HashMap<Row, u64> = HashMap::new();
        for row in rows {
            *counted.entry(row).or_default() += 1;
        }
        let mut samples: Vec<(Row, u64)> = counted.into_iter().collect();
        // Those that can serve most come first, and none depends on the order of nodes.
        let rank =
            |row: &Row| (row.minutes, row.free.iter().fold(0, |a: u64, b| a.saturating_add(*b)));
        samples.sort_unstable_by(|(a, _), (b, _)| rank(b).cmp(&rank(a)).then_with(|| b.cmp(a)));
        samples.truncate(SAMPLES);
        Index { tables, samples, free }
    }

    /// Free leaves of a type on all nodes.
    pub fn free(&self, kind: usize) -> u64 {
        self.free.get(kind).copied().unwrap_or(0)
    }

    /// How many nodes can take these leaves, as (type, count), at least.
    pub fn nodes(&self, leaves: &[(usize, u64)], wanted: &Wanted) -> u64 {
        match leaves {
            [(kind, count)] => {
                self.tables.get(*kind).map_or(0, |table| table.nodes(*count, wanted))
            }
            _ => {
                let takes = |row: &Row| {
                    let has = |&(kind, count): &(usize, u64)| {
                        row.free.get(kind).is_some_and(|&free| free >= count)
                    };
                    row.cpus >= wanted.cpus
                        && row.memory >= wanted.memory
                        && row.minutes >= wanted.minutes
                        && leaves.iter().all(has)
                };
                self.samples.iter().filter(|(row, _)| takes(row)).map(|(_, nodes)| nodes).sum()
            }
        }
    }

    /// What different nodes have free.
    pub fn samples(&self) -> impl Iterator<Item = &[u64]> {
        self.samples.iter().map(|(row, _)| row.free.as_slice())
    }

    /// Bytes on the heap, about.
    pub fn size(&self) -> usize {
        let tables = self.tables.iter().map(|table| table.counts.len() * size_of::<u32>());
        let row =
            |(row, _): &(Row, u64)| size_of_val(row.free.as_slice()) + size_of::<(Row, u64)>();
        tables.sum::<usize>() + self.samples.iter().map(row).sum::<usize>()
    }
}

/// Rising values of one dimension.
#[derive(Clone, Debug, Default)]
struct Axis(Vec<u64>);

impl Axis {
    /// At most so many of the values, evenly, the least and the largest among them.
    fn new(mut values: Vec<u64>, most: usize) -> Axis {
        values.sort_unstable();
        values.dedup();
        if values.len() > most {
            let last = values.len() - 1;
            values = (0..most).map(|step| values[step * last / (most - 1)]).collect();
        }
        Axis(values)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    /// The step that a node with this value reaches.
    fn reached(&self, value: u64) -> Option<usize> {
        self.0.partition_point(|step| *step <= value).checked_sub(1)
    }

    /// The step that is enough for this value.
    fn enough(&self, value: u64) -> Option<usize> {
        let step = self.0.partition_point(|step| *step < value);
        (step < self.0.len()).then_some(step)
    }
}

/// For one type: how many nodes reach each combination of steps.
#[derive(Clone, Debug, Default)]
struct Table {
    axes: [Axis; 4],
    counts: Vec<u32>,
}

impl Table {
    fn new(kind: usize, rows: &[Row], others: &[Axis; 3], most: usize) -> Table {
        let free = rows.iter().map(|row| row.free[kind]).filter(|&free| free > 0).collect();
        let [cpus, memory, minutes] = others.clone();
        let axes = [Axis::new(free, most), cpus, memory, minutes];
        let lengths = axes.each_ref().map(Axis::len);
        let mut table = Table { axes, counts: vec![0; lengths.iter().product()] };
        for row in rows {
            let values = [row.free[kind], row.cpus, row.memory, row.minutes];
            if let Some(cell) = table.cell(Axis::reached, values) {
                table.counts[cell] += 1;
            }
        }
        // "Exactly here" becomes "here or further", axis by axis.
        let mut stride = 1;
        for length in lengths.into_iter().rev() {
            for cell in (0..table.counts.len()).rev() {
                if cell / stride % length + 1 < length {
                    table.counts[cell] += table.counts[cell + stride];
                }
            }
            stride *= length;
        }
        table
    }

    fn cell(&self, step: fn(&Axis, u64) -> Option<usize>, values: [u64; 4]) -> Option<usize> {
        let mut cell = 0;
        for (axis, value) in self.axes.iter().zip(values) {
            cell = cell * axis.len() + step(axis, value)?;
        }
        Some(cell)
    }

    fn nodes(&self, count: u64, wanted: &Wanted) -> u64 {
        let values = [count, wanted.cpus, wanted.memory, wanted.minutes];
        self.cell(Axis::enough, values).map_or(0, |cell| self.counts[cell].into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row() -> impl Strategy<Value = Row> {
        let minutes = prop_oneof![Just(0), Just(u64::MAX), 1..40u64];
        (minutes, proptest::collection::vec(0..6u64, 2), 0..20u64, 0..9u64)
            .prop_map(|(minutes, free, cpus, memory)| Row { minutes, free, cpus, memory })
    }

    proptest! {
        #[test]
        fn no_node_is_counted_that_cannot_take_it(
            rows in proptest::collection::vec(row(), 0..60),
            counts in (0..7u64, 0..7u64),
            (cpus, memory) in (0..24u64, 0..10u64),
            minutes in prop_oneof![Just(u64::MAX), 0..40u64],
            both in any::<bool>(),
        ) {
            let leaves = if both { vec![(0, counts.0), (1, counts.1)] } else { vec![(1, counts.1 + 1)] };
            let wanted = Wanted { cpus, memory, minutes };
            let takes = |row: &&Row| {
                row.minutes > 0 && row.minutes >= minutes && row.cpus >= cpus
                    && row.memory >= memory
                    && leaves.iter().all(|&(kind, count)| row.free[kind] >= count)
            };
            let really = rows.iter().filter(takes).count() as u64;
            let few = |of: fn(&Row) -> u64, most| {
                let mut values: Vec<u64> = rows.iter().filter(|r| r.minutes > 0).map(of).collect();
                values.sort_unstable();
                values.dedup();
                values.len() <= most
            };
            let exact = few(|row| row.cpus, 12) && few(|row| row.memory, 8) && few(|row| row.minutes, 4);
            let index = Index::new(2, rows.clone());
            let found = index.nodes(&leaves, &wanted);
            prop_assert!(found <= really, "{} of {}", found, really);
            if exact || both {
                prop_assert_eq!(found, really);
            }
            let mut other = rows;
            other.reverse();
            prop_assert_eq!(Index::new(2, other).nodes(&leaves, &wanted), found);
        }
    }
}
