//! The node's topology file for NCCL (`NCCL_TOPO_FILE`): where the leaves are.
//!
//! A synthetic bus id has no place in sysfs, so without the file NCCL knows neither bridges nor NUMA
//! node of a leaf, takes links of 12 GB/s, and does not pin its threads. The file lists all leaves of
//! the node; NCCL drops those that are not in its communicator.
//!
//! ```text
//! <system version="1">
//!   <cpu numaid="0" affinity="00000000,0000ffff" arch="x86_64" vendor="GenuineIntel" ...>
//!     <pci busid="0000:15:00.0" class="0x060400" .../>          real switch, as in sysfs
//!       <pci busid="0000:19:00.0" class="0x060400" .../>        the GPU: its leaves share its link
//!         <pci busid="b800:19:00.0" class="0x030200" .../>      a leaf
//! ```
//!
//! The bridges are the real ones under their real bus ids, the same that NCCL finds for a network
//! card, so that cards keep their distance to the GPUs. The GPU itself stands in as a bridge: its
//! leaves are one hop apart (PIX, which every version admits for P2P) and share one link, as they do.
//! Without sysfs (a container, a test) bridges and link speeds are missing and NCCL takes defaults.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use flexmig_core::bus_id::BusId;
use flexmig_core::leaf::{Leaf, Parent};
use quick_xml::events::{BytesEnd, BytesStart, Event};
use quick_xml::writer::Writer;

const BRIDGE: &str = "0x060400";
const GPU: &str = "0x030200";

/// A PCI device of the file, and what hangs on it.
#[derive(Debug, Default)]
struct Device {
    attributes: Vec<(&'static str, String)>,
    below: BTreeMap<String, Device>,
}

/// The text of the topology file for these leaves; `root` holds `sys` and `proc`.
pub fn write(leaves: &[Leaf], root: &Path) -> io::Result<Vec<u8>> {
    // By NUMA node; NCCL writes -1 for an unknown one.
    let mut cpus: BTreeMap<i64, (String, BTreeMap<String, Device>)> = BTreeMap::new();
    for leaf in leaves {
        // Inventory left out leaves without a synthetic bus id.
        let Ok(bus_id) = leaf.bus_id() else { continue };
        let parent = &leaf.parent;
        let numa = parent.numa.map_or(-1, i64::from);
        let (affinity, mut below) = {
            let cpu = cpus.entry(numa).or_default();
            (&mut cpu.0, &mut cpu.1)
        };
        if affinity.is_empty() {
            *affinity = mask(&parent.cpus);
        }
        for bridge in bridges(root, parent) {
            let device = below.entry(bridge.clone());
            below = &mut device.or_insert_with(|| device_of(root, &bridge, BRIDGE)).below;
        }
        let real = short(parent.bus_id);
        let gpu = below.entry(real.clone()).or_insert_with(|| device_of(root, &real, BRIDGE));
        gpu.below.insert(short(bus_id), device_of(root, &real, GPU));
    }
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    let mut system = BytesStart::new("system");
    system.push_attribute(("version", "1"));
    writer.write_event(Event::Start(system.borrow()))?;
    let model = cpu_model(root);
    for (numa, (affinity, devices)) in &cpus {
        let mut cpu = BytesStart::new("cpu");
        cpu.push_attribute(("numaid", numa.to_string().as_str()));
        if !affinity.is_empty() {
            cpu.push_attribute(("affinity", affinity.as_str()));
        }
        cpu.push_attribute((
            "arch",
            if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" },
        ));
        for (name, value) in &model {
            cpu.push_attribute((*name, value.as_str()));
        }
        writer.write_event(Event::Start(cpu))?;
        write_devices(&mut writer, devices)?;
        writer.write_event(Event::End(BytesEnd::new("cpu")))?;
    }
    writer.write_event(Event::End(system.to_end()))?;
    let mut text = writer.into_inner();
    text.push(b'\n');
    Ok(text)
}

fn write_devices<W: Write>(
    writer: &mut Writer<W>,
    devices: &BTreeMap<String, Device>,
) -> io::Result<()> {
    for (bus_id, device) in devices {
        let mut pci = BytesStart::new("pci");
        pci.push_attribute(("busid", bus_id.as_str()));
        for (name, value) in &device.attributes {
            pci.push_attribute((*name, value.as_str()));
        }
        if device.below.is_empty() {
            writer.write_event(Event::Empty(pci))?;
        } else {
            writer.write_event(Event::Start(pci))?;
            write_devices(writer, &device.below)?;
            writer.write_event(Event::End(BytesEnd::new("pci")))?;
        }
    }
    Ok(())
}

/// A device with what sysfs says about it, in the words of NCCL. All attributes are written, also
/// those that are not known: NCCL then does not go looking for a bus id that is not there.
fn device_of(root: &Path, bus_id: &str, class: &str) -> Device {
    let folder = root.join("sys/bus/pci/devices").join(bus_id);
    let read = |file: &str| {
        fs::read_to_string(folder.join(file)).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    // The slower end of the link counts. The port's folder is the device's parent, behind the link
    // that the folder's name is.
    let port = |file: &str| read(&format!("../{file}"));
    let lower = |file: &str| {
        let number = |text: &str| text.split(' ').next().and_then(|word| word.parse::<f64>().ok());
        let (device, port) = (read(file), port(file));
        match (number(&device), number(&port)) {
            (Some(a), Some(b)) if b < a => port,
            (None, Some(_)) => port,
            (Some(_), _) => device,
            // "Unknown" and nothing.
            (None, None) => String::new(),
        }
    };
    let speed = lower("max_link_speed");
    let width = lower("max_link_width");
    let attributes = vec![
        ("class", class.to_owned()),
        ("vendor", read("vendor")),
        ("device", read("device")),
        ("subsystem_vendor", read("subsystem_vendor")),
        ("subsystem_device", read("subsystem_device")),
        ("link_speed", speed),
        ("link_width", width),
    ];
    Device { attributes, below: BTreeMap::new() }
}

/// The switches between the CPU and a GPU, from the CPU, as NCCL counts them: of each switch its
/// upstream port. None for a GPU at a port of the CPU.
fn bridges(root: &Path, parent: &Parent) -> Vec<String> {
    let folder = root.join("sys/bus/pci/devices").join(short(parent.bus_id));
    let Ok(path) = fs::canonicalize(folder) else { return Vec::new() };
    let names = path.iter().filter_map(|name| name.to_str());
    // root port, upstream port, downstream port, ..., the GPU.
    let chain: Vec<&str> = names.filter(|name| is_address(name)).collect();
    let mut found: Vec<String> =
        chain.iter().rev().skip(2).step_by(2).map(|&name| name.to_owned()).collect();
    found.reverse();
    found
}

/// `0000:15:00.0`
fn is_address(name: &str) -> bool {
    name.len() == 12 && BusId::parse(name.as_bytes()).is_ok()
}

/// As NCCL writes bus ids: a domain of four digits, lower case.
fn short(bus_id: BusId) -> String {
    let BusId { domain, bus, device, function } = bus_id;
    format!("{domain:04x}:{bus:02x}:{device:02x}.{function}")
}

/// A CPU list as a mask, `0-3,32-33` as `00000003,0000000f`; empty if it is not one.
fn mask(list: &str) -> String {
    let mut words: Vec<u32> = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) else {
            return String::new();
        };
        // NCCL's masks hold no more, and a damaged list must not make a large one.
        for cpu in first..=last.min(8191) {
            if words.len() <= cpu / 32 {
                words.resize(cpu / 32 + 1, 0);
            }
            words[cpu / 32] |= 1 << (cpu % 32);
        }
    }
    words.iter().rev().map(|word| format!("{word:08x}")).collect::<Vec<_>>().join(",")
}

/// The CPU's vendor, family and model, on x86; NCCL knows its links by them.
fn cpu_model(root: &Path) -> Vec<(&'static str, String)> {
    let text = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let field = |name: &str| {
        let line =
            text.lines().find(|line| line.split(':').next().is_some_and(|n| n.trim() == name));
        Some(line?.split_once(':')?.1.trim().to_owned())
    };
    let names = [("vendor", "vendor_id"), ("familyid", "cpu family"), ("modelid", "model")];
    names.into_iter().filter_map(|(name, source)| Some((name, field(source)?))).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use flexmig_core::leaf::DeviceFiles;
    use flexmig_core::profile::Profile;

    fn leaf(bus: u8, numa: Option<u32>, gi: u32) -> Leaf {
        Leaf {
            uuid: format!("MIG-{bus}-{gi}"),
            profile: Profile::new(1, 10),
            memory_mib: 9856,
            sm_count: 16,
            gi,
            ci: 0,
            placement: None,
            devices: DeviceFiles {
                parent: String::new(),
                gpu_instance: String::new(),
                compute_instance: String::new(),
            },
            parent: Parent {
                uuid: format!("GPU-{bus}"),
                model: "NVIDIA H100".into(),
                index: 0,
                minor: 0,
                bus_id: format!("0000:{bus:02x}:00.0").parse().unwrap(),
                numa,
                cpus: "0-3,32".into(),
            },
        }
    }

    fn text(leaves: &[Leaf], root: &Path) -> String {
        String::from_utf8(write(leaves, root).unwrap()).unwrap()
    }

    /// Depth and bus id of each PCI device, as a reader of XML finds them.
    fn tree(text: &str) -> Vec<(usize, String)> {
        let mut reader = quick_xml::Reader::from_str(text);
        let (mut depth, mut found) = (0, Vec::new());
        let bus_id = |tag: &BytesStart<'_>| {
            let attribute = tag.try_get_attribute("busid").unwrap()?;
            Some(attribute.value.into_owned())
        };
        loop {
            match reader.read_event().unwrap() {
                Event::Start(tag) => {
                    found.extend(bus_id(&tag).map(|id| (depth, id)));
                    depth += 1;
                }
                Event::Empty(tag) => found.extend(bus_id(&tag).map(|id| (depth, id))),
                Event::End(_) => depth -= 1,
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(depth, 0);
        found
    }

    /// A device of a made sysfs; `path` from `sys/devices`, attributes as `name=value`.
    fn device(root: &Path, path: &str, attributes: &[(&str, &str)]) {
        let folder = root.join("sys/devices").join(path);
        fs::create_dir_all(&folder).unwrap();
        for (name, value) in attributes {
            fs::write(folder.join(name), format!("{value}\n")).unwrap();
        }
        let links = root.join("sys/bus/pci/devices");
        fs::create_dir_all(&links).unwrap();
        let address = path.rsplit('/').next().unwrap();
        symlink(format!("../../../devices/{path}"), links.join(address)).unwrap();
    }

    #[test]
    fn without_sysfs_the_leaves_are_below_their_gpus() {
        let empty = tempfile::tempdir().unwrap();
        let leaves = [leaf(0x10, None, 7), leaf(0x10, None, 8), leaf(0x11, Some(1), 7)];
        let text = text(&leaves, empty.path());
        assert!(
            text.starts_with("<system version=\"1\">\n  <cpu numaid=\"-1\" affinity="),
            "{text}"
        );
        assert!(text.contains("<cpu numaid=\"1\" affinity=\"00000001,0000000f\""), "{text}");
        assert!(text.contains("link_speed=\"\" link_width=\"\""), "{text}");
        let expected = [
            (2, "0000:10:00.0"),
            (3, "b800:10:00.0"),
            (3, "c000:10:00.0"),
            (2, "0000:11:00.0"),
            (3, "b800:11:00.0"),
        ];
        assert_eq!(tree(&text), expected.map(|(depth, id)| (depth, id.to_owned())));
    }

    #[test]
    fn real_bridges_stay_above_their_gpus() {
        let root = tempfile::tempdir().unwrap();
        let gen5 = [("max_link_speed", "32.0 GT/s PCIe"), ("max_link_width", "16")];
        let port = "pci0000:14/0000:14:01.0";
        device(root.path(), port, &gen5);
        let up = format!("{port}/0000:15:00.0");
        device(root.path(), &up, &[("vendor", "0x1000"), ("device", "0xc030"), gen5[0], gen5[1]]);
        for (down, gpu) in [("0000:16:00.0", "0000:17:00.0"), ("0000:16:01.0", "0000:18:00.0")] {
            let down = format!("{up}/{down}");
            device(root.path(), &down, &[("max_link_speed", "16.0 GT/s PCIe"), gen5[1]]);
            let vendor = [("vendor", "0x10de"), ("device", "0x2330"), gen5[0], gen5[1]];
            device(root.path(), &format!("{down}/{gpu}"), &vendor);
        }
        // A GPU at a port of the CPU.
        device(root.path(), "pci0000:30/0000:30:01.0", &gen5);
        device(
            root.path(),
            "pci0000:30/0000:30:01.0/0000:31:00.0",
            &[("max_link_speed", "Unknown")],
        );
        fs::create_dir_all(root.path().join("proc")).unwrap();
        let cpu = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\n\
                   model name\t: Xeon\n";
        fs::write(root.path().join("proc/cpuinfo"), cpu).unwrap();

        let leaves = [leaf(0x17, Some(0), 7), leaf(0x18, Some(0), 7), leaf(0x31, Some(0), 9)];
        let text = text(&leaves, root.path());
        let expected = [
            (2, "0000:15:00.0"),
            (3, "0000:17:00.0"),
            (4, "b800:17:00.0"),
            (3, "0000:18:00.0"),
            (4, "b800:18:00.0"),
            (2, "0000:31:00.0"),
            (3, "c800:31:00.0"),
        ];
        assert_eq!(tree(&text), expected.map(|(depth, id)| (depth, id.to_owned())), "{text}");
        assert!(text.contains("vendor=\"GenuineIntel\" familyid=\"6\" modelid=\"143\""), "{text}");
        let leaf = text.lines().find(|line| line.contains("b800:17:00.0")).unwrap();
        assert!(leaf.contains("class=\"0x030200\" vendor=\"0x10de\" device=\"0x2330\""), "{leaf}");
        assert!(leaf.contains("link_speed=\"16.0 GT/s PCIe\" link_width=\"16\""), "{leaf}");
    }

    #[test]
    fn nested_switches_keep_their_order() {
        let root = tempfile::tempdir().unwrap();
        let path = "pci0000:14/0000:14:01.0/0000:15:00.0/0000:16:00.0/0000:17:00.0/0000:18:00.0/\
                    0000:19:00.0";
        device(root.path(), path, &[]);
        let found = bridges(root.path(), &leaf(0x19, None, 7).parent);
        assert_eq!(found, ["0000:15:00.0", "0000:17:00.0"]);
    }

    #[test]
    fn masks_are_words_of_32_bits_the_highest_first() {
        assert_eq!(mask("0-3,32-33"), "00000003,0000000f");
        assert_eq!(mask("64"), "00000001,00000000,00000000");
        assert_eq!(mask(""), "");
        assert_eq!(mask("0-x"), "");
        assert!(mask("0-99999999999").len() < 3000);
    }
}
