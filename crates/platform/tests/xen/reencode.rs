//! Writes a captured Xen in the layout of another release.
//!
//! The lab cannot boot every release. What differs between them is how the same facts lie in
//! the answers (`xen/include/public/{sysctl,domctl}.h`), so a real capture of Xen 4.17 or
//! later, which has the newer of the two layouts there are, is written anew in the others.

use std::fs;
use std::path::Path;

/// Minor version, sysctl and domctl interface of every release.
pub const RELEASES: [(u32, u32, u32); 10] = [
    (13, 0x12, 0x12),
    (14, 0x13, 0x12),
    (15, 0x13, 0x13),
    (16, 0x14, 0x14),
    (17, 0x15, 0x15),
    (18, 0x15, 0x16),
    (19, 0x15, 0x17),
    (20, 0x15, 0x17),
    (21, 0x16, 0x17),
    (22, 0x16, 0x18),
];

/// Copies the capture `from` (one moment or a series) to `to` as Xen 4.`minor` would give it.
pub fn reencode(from: &Path, to: &Path, (minor, sysctl, domctl): (u32, u32, u32)) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            reencode(&path, &target, (minor, sysctl, domctl));
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let bytes = match entry.file_name().to_str().unwrap() {
            "interface" => format!("sysctl {sysctl:#x}\ndomctl {domctl:#x}\n").into_bytes(),
            "minor" => format!("{minor}\n").into_bytes(),
            "physinfo.bin" if minor < 17 => older_physinfo(&bytes),
            "getdomaininfolist.bin" if minor < 16 => older_list(&bytes),
            _ => bytes,
        };
        fs::write(target, bytes).unwrap();
    }
}

/// Before 4.17 the pages stood where `arch_capabilities` and its padding are now.
fn older_physinfo(bytes: &[u8]) -> Vec<u8> {
    [&bytes[..32], &bytes[40..], &[0; 8]].concat()
}

/// Before 4.16 `gpaddr_bits` and its padding, 8 bytes before the end, were not there.
fn older_list(bytes: &[u8]) -> Vec<u8> {
    let (head, list) = bytes.split_at(24);
    let older = list.chunks_exact(112).flat_map(|entry| [&entry[..96], &entry[104..]].concat());
    head.iter().copied().chain(older).collect()
}
