//! How the GPUs of a cluster are cut.

use std::fmt;

use crate::Gpu;
use crate::gpu::Shape;

/// One instance of a cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instance {
    /// Its profile.
    pub shape: Shape,
    /// Where it starts on the memory axis.
    pub start: u8,
}

impl Instance {
    /// The slices of the memory axis that it takes, a bit each.
    pub fn mask(&self) -> u8 {
        mask(self.shape.size, self.start)
    }
}

/// The memory slices of an instance of this size that starts here.
pub fn mask(size: u8, start: u8) -> u8 {
    (((1u16 << size) - 1) << start) as u8
}

/// The instances of one GPU: none overlap, each stands where its profile may, and all compute slices
/// together are no more than the GPU has. By start.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut(Vec<Instance>);

/// The cuts of a cluster's GPUs: the first GPU of the cluster has the first cut, and so on, from the
/// front again after the last.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Never empty.
    pub cuts: Vec<Cut>,
}

/// A layout that cannot be read or cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A word is not a profile.
    #[error("{0}: not a profile of {1}: type 2g or 2g.20gb, with a number before it 3x2g")]
    Profile(String, &'static str),
    /// NVIDIA's placement rules.
    #[error("{0}: no placement on {1} holds all of these instances")]
    Placement(String, &'static str),
    /// Nothing, or too much.
    #[error("{0:?}: type a layout as 4g+2g+1g, several as 3*7x1g,4g+2g+1g (at most 1024 GPUs)")]
    Form(String),
}

impl Cut {
    /// These profiles at the first places that hold them all; `None` where no places do.
    pub fn of(gpu: &Gpu, shapes: &[Shape]) -> Option<Cut> {
        let slices: u32 = shapes.iter().map(|shape| u32::from(shape.profile.slices)).sum();
        if slices > u32::from(gpu.slices) {
            return None;
        }
        let mut order: Vec<Shape> = shapes.to_vec();
        // Large ones have the fewest places.
        order.sort_by_key(|shape| std::cmp::Reverse((shape.size, shape.profile.slices)));
        let mut placed = Vec::with_capacity(order.len());
        if !place(&order, 0, &mut placed) {
            return None;
        }
        placed.sort_by_key(|instance| instance.start);
        Some(Cut(placed))
    }

    /// The instances, by start.
    pub fn instances(&self) -> &[Instance] {
        &self.0
    }

    /// Every set of profiles that a GPU can have and to which nothing can be added, each once.
    pub fn all_full(gpu: &Gpu) -> Vec<Cut> {
        let mut found = Vec::new();
        let mut counts = vec![0u8; gpu.shapes.len()];
        extend(gpu, 0, &mut counts, &mut found);
        let whole = |counts: &[u8]| {
            let more = |place: usize| {
                let mut more = counts.to_vec();
                more[place] += 1;
                of_counts(gpu, &more).is_some()
            };
            !(0..gpu.shapes.len()).any(more)
        };
        found.retain(|counts: &Vec<u8>| whole(counts));
        found.iter().filter_map(|counts| of_counts(gpu, counts)).collect()
    }
}

fn of_counts(gpu: &Gpu, counts: &[u8]) -> Option<Cut> {
    let over = |(shape, &count): (&Shape, &u8)| count > shape.most;
    if gpu.shapes.iter().zip(counts).any(over) {
        return None;
    }
    let shapes = gpu.shapes.iter().zip(counts);
    let shapes: Vec<Shape> =
        shapes.flat_map(|(shape, &count)| vec![*shape; count.into()]).collect();
    Cut::of(gpu, &shapes)
}

/// All numbers of instances that can be placed.
fn extend(gpu: &Gpu, place: usize, counts: &mut Vec<u8>, found: &mut Vec<Vec<u8>>) {
    let Some(shape) = gpu.shapes.get(place) else {
        found.push(counts.clone());
        return;
    };
    for count in 0..=shape.most {
        counts[place] = count;
        if of_counts(gpu, counts).is_none() {
            break;
        }
        extend(gpu, place + 1, counts, found);
    }
    counts[place] = 0;
}

fn place(order: &[Shape], taken: u8, placed: &mut Vec<Instance>) -> bool {
    let Some((shape, rest)) = order.split_first() else { return true };
    for &start in shape.starts {
        let instance = Instance { shape: *shape, start };
        if taken & instance.mask() != 0 {
            continue;
        }
        placed.push(instance);
        if place(rest, taken | instance.mask(), placed) {
            return true;
        }
        placed.pop();
    }
    false
}

impl Layout {
    /// One cut for all GPUs.
    pub fn uniform(cut: Cut) -> Layout {
        Layout { cuts: vec![cut] }
    }

    /// Reads `4g+2g+1g`, or several cuts `3*7x1g,4g+2g+1g`: three GPUs of seven leaves, then one of
    /// three. A profile without its memory is the smallest with so many slices.
    pub fn parse(gpu: &'static Gpu, text: &str) -> Result<Layout, LayoutError> {
        let form = || LayoutError::Form(text.chars().take(64).collect());
        let mut cuts = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (times, cut) = match part.split_once('*') {
                Some((times, cut)) => (times.trim().parse().map_err(|_| form())?, cut),
                None => (1usize, part),
            };
            if times == 0 || cuts.len() + times.min(2000) > 1024 {
                return Err(form());
            }
            cuts.extend(vec![read_cut(gpu, cut)?; times]);
        }
        Ok(Layout { cuts })
    }

    /// The cut of a GPU, counted over the cluster.
    pub fn cut(&self, gpu: usize) -> &Cut {
        &self.cuts[gpu % self.cuts.len()]
    }
}

fn read_cut(gpu: &'static Gpu, text: &str) -> Result<Cut, LayoutError> {
    let mut shapes = Vec::new();
    for word in text.split('+').map(str::trim) {
        let wrong = || LayoutError::Profile(word.chars().take(64).collect(), gpu.name);
        let (times, name) = match word.split_once('x') {
            Some((times, name)) => (times.trim().parse::<u8>().map_err(|_| wrong())?, name.trim()),
            None => (1, word),
        };
        let is_it = |shape: &&Shape| match name.strip_suffix('g') {
            Some(slices) => slices.parse() == Ok(shape.profile.slices),
            None => name.parse() == Ok(shape.profile),
        };
        let shape = gpu.shapes.iter().find(is_it).ok_or_else(wrong)?;
        if !(1..=7).contains(&times) {
            return Err(wrong());
        }
        shapes.extend(vec![*shape; times.into()]);
    }
    let error = || LayoutError::Placement(text.trim().chars().take(64).collect(), gpu.name);
    Cut::of(gpu, &shapes).ok_or_else(error)
}

impl fmt::Display for Cut {
    /// `4g.40gb+2g.20gb+1g.10gb`, large first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shapes: Vec<&Shape> = self.0.iter().map(|instance| &instance.shape).collect();
        shapes.sort_by_key(|shape| std::cmp::Reverse(shape.profile));
        for (place, group) in shapes.chunk_by(|a, b| a.profile == b.profile).enumerate() {
            f.write_str(if place == 0 { "" } else { "+" })?;
            if group.len() > 1 {
                write!(f, "{}x", group.len())?;
            }
            write!(f, "{}", group[0].profile)?;
        }
        Ok(())
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, group) in self.cuts.chunk_by(|a, b| a == b).enumerate() {
            f.write_str(if place == 0 { "" } else { "," })?;
            if group.len() > 1 {
                write!(f, "{}*", group.len())?;
            }
            write!(f, "{}", group[0])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::GPUS;

    fn a100() -> &'static Gpu {
        Gpu::named("a100-80").unwrap()
    }

    #[test]
    fn layouts_are_read_and_written() {
        for (text, expected) in [
            ("4g+2g+1g", "4g.40gb+2g.20gb+1g.10gb"),
            ("7x1g", "7x1g.10gb"),
            ("2*7x1g, 3g.40gb+2x2g", "2*7x1g.10gb,3g.40gb+2x2g.20gb"),
            ("1g.20gb+3x2g", "3x2g.20gb+1g.20gb"),
        ] {
            let layout = Layout::parse(a100(), text).unwrap();
            assert_eq!(layout.to_string(), expected);
            assert_eq!(Layout::parse(a100(), expected).unwrap(), layout);
        }
        assert_eq!(Layout::parse(a100(), "2*7g,7x1g").unwrap().cut(5).to_string(), "7x1g.10gb");
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (text, expected) in [
            ("4g+3g+1g", "4g+3g+1g: no placement on a100-80 holds all of these instances"),
            ("4x2g", "4x2g: no placement on a100-80 holds all of these instances"),
            ("2x3g+1g", "2x3g+1g: no placement on a100-80 holds all of these instances"),
            (
                "5g",
                "5g: not a profile of a100-80: type 2g or 2g.20gb, with a number before it 3x2g",
            ),
            ("", ": not a profile of a100-80: type 2g or 2g.20gb, with a number before it 3x2g"),
            (
                "0*7g",
                "\"0*7g\": type a layout as 4g+2g+1g, several as 3*7x1g,4g+2g+1g (at most 1024 GPUs)",
            ),
        ] {
            assert_eq!(Layout::parse(a100(), text).unwrap_err().to_string(), expected);
        }
    }

    /// Whatever the order in which instances are asked for, exactly the sets that some assignment
    /// of allowed places holds can be cut.
    #[test]
    fn cuts_keep_the_placement_rules() {
        for gpu in &GPUS {
            let all = Cut::all_full(gpu);
            for cut in &all {
                let mut taken = 0u8;
                for instance in cut.instances() {
                    assert!(instance.shape.starts.contains(&instance.start), "{cut}");
                    assert_eq!(taken & instance.mask(), 0, "{cut}");
                    taken |= instance.mask();
                    assert!(instance.start + instance.shape.size <= gpu.axis, "{cut}");
                }
                for shape in gpu.shapes {
                    let same = cut.instances().iter().filter(|i| i.shape.profile == shape.profile);
                    assert!(same.count() <= shape.most.into(), "{cut}");
                }
            }
            let texts: Vec<String> = all.iter().map(Cut::to_string).collect();
            let whole = gpu.shapes.last().unwrap().profile.to_string();
            assert!(texts.contains(&whole), "{texts:?}");
        }
        let texts: Vec<String> = Cut::all_full(a100()).iter().map(Cut::to_string).collect();
        // The MIG user guide's figure for A100 has these without double-memory 1g.
        for known in [
            "7x1g.10gb",
            "2g.20gb+5x1g.10gb",
            "2x2g.20gb+3x1g.10gb",
            "3x2g.20gb+1g.10gb",
            "3g.40gb+4x1g.10gb",
            "4g.40gb+3x1g.10gb",
            "3g.40gb+2g.20gb+2x1g.10gb",
            "4g.40gb+2g.20gb+1g.10gb",
            "3g.40gb+2x2g.20gb",
            "2x3g.40gb",
            "4g.40gb+3g.40gb",
            "7g.80gb",
        ] {
            assert!(texts.iter().any(|text| text == known), "{known} in {texts:?}");
        }
    }
}
