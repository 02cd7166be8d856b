//! How results are printed: columns as nccl-tests has them, and JSON.

use serde::Serialize;

use crate::bench::{Op, Row};

/// All rows as one JSON object.
#[derive(Debug, Serialize)]
pub struct Json<'a> {
    /// The operation's name.
    pub op: &'a str,
    /// Number of ranks.
    pub ranks: usize,
    /// One per size.
    pub rows: &'a [Row],
}

/// A rank as the head of the table shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RankLine {
    /// Slurm's name of the node, or the host's.
    pub node: String,
    /// Process id.
    pub pid: u32,
    /// The leaf that the rank is bound to; empty if it is bound to none.
    pub leaf: String,
}

impl RankLine {
    /// As text for an exchange between ranks.
    pub fn encode(&self) -> Vec<u8> {
        format!("{}\n{}\n{}", self.node, self.pid, self.leaf).into_bytes()
    }

    /// From such a text; what is damaged is empty.
    pub fn decode(bytes: &[u8]) -> RankLine {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split('\n');
        let mut next = || lines.next().unwrap_or_default().to_owned();
        let (node, pid) = (next(), next());
        RankLine { node, pid: pid.parse().unwrap_or_default(), leaf: next() }
    }
}

/// What stands above the rows.
pub fn head(op: Op, net: &str, version: u32, ranks: &[RankLine]) -> String {
    let count = ranks.len();
    let word = if count == 1 { "rank" } else { "ranks" };
    let mut text = format!("# flexmig bench {op}: {count} {word}, net plugin {net} v{version}\n");
    for (number, rank) in ranks.iter().enumerate() {
        let leaf = if rank.leaf.is_empty() { "no leaf" } else { &rank.leaf };
        text += &format!("#  rank {number:2}  node {}  pid {}  {leaf}\n", rank.node, rank.pid);
    }
    let time = if op == Op::Transport { "half trip" } else { "time" };
    text += &format!("#{:>11} {time:>11} {:>9} {:>9} {:>8}\n", "size", "algbw", "busbw", "errors");
    text += &format!("#{:>11} {:>11} {:>9} {:>9}\n", "(B)", "(us)", "(GB/s)", "(GB/s)");
    text
}

/// One row.
pub fn row(row: &Row) -> String {
    let Row { bytes, time_us, algbw_gbps, busbw_gbps, errors } = row;
    format!("{bytes:>12} {time_us:>11.2} {algbw_gbps:>9.2} {busbw_gbps:>9.2} {errors:>8}\n")
}

/// What stands below the rows.
pub fn foot(rows: &[Row]) -> String {
    let wrong: u64 = rows.iter().map(|row| row.errors).sum();
    format!("# wrong elements: {wrong} {}\n", if wrong == 0 { "OK" } else { "FAILED" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row =
        Row { bytes: 67_108_864, time_us: 12.345, algbw_gbps: 5.4321, busbw_gbps: 8.1, errors: 0 };

    #[test]
    fn columns_stand_below_their_heads() {
        let rank = RankLine { node: "n1".into(), pid: 7, leaf: "MIG-1".into() };
        let ranks = [rank, RankLine { node: "n2".into(), pid: 8, leaf: String::new() }];
        let text = head(Op::Proxy, "FlexMIG", 11, &ranks) + &row(&ROW) + &foot(&[ROW]);
        let expected = "\
# flexmig bench proxy: 2 ranks, net plugin FlexMIG v11
#  rank  0  node n1  pid 7  MIG-1
#  rank  1  node n2  pid 8  no leaf
#       size        time     algbw     busbw   errors
#        (B)        (us)    (GB/s)    (GB/s)
    67108864       12.35      5.43      8.10        0
# wrong elements: 0 OK
";
        assert_eq!(text, expected);
        assert_eq!(RankLine::decode(&ranks[0].encode()), ranks[0]);
        assert_eq!(
            RankLine::decode(b"\xff"),
            RankLine { node: "\u{fffd}".into(), ..RankLine::default() }
        );
    }

    #[test]
    fn json_has_these_fields_and_no_others() {
        let text =
            serde_json::to_string(&Json { op: "allreduce", ranks: 4, rows: &[ROW] }).unwrap();
        assert_eq!(
            text,
            "{\"op\":\"allreduce\",\"ranks\":4,\"rows\":[{\"bytes\":67108864,\"time_us\":12.345,\
             \"algbw_gbps\":5.4321,\"busbw_gbps\":8.1,\"errors\":0}]}"
        );
    }
}
