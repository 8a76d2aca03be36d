//! The little of ELF that the lab needs: which libraries a program asks for, and a kernel module's
//! own description of itself. Only 64-bit little-endian files are understood.

/// A section of an ELF file: its name's offset, its kind, the file range and the linked section.
struct Section {
    name: usize,
    kind: u32,
    offset: usize,
    size: usize,
    link: usize,
}

const DYNAMIC: u32 = 6;
const NEEDED: u64 = 1;

/// Whether the bytes begin as an ELF file does.
pub fn is_elf(file: &[u8]) -> bool {
    file.starts_with(b"\x7fELF")
}

/// The names of the shared libraries a program or library asks for; none for a static one.
/// `None` means the file is no readable ELF.
pub fn needed(file: &[u8]) -> Option<Vec<String>> {
    let sections = sections(file)?;
    let Some(dynamic) = sections.iter().find(|section| section.kind == DYNAMIC) else {
        return Some(Vec::new());
    };
    let strings = bytes(file, sections.get(dynamic.link)?)?;
    let mut names = Vec::new();
    for entry in bytes(file, dynamic)?.chunks_exact(16) {
        let (tag, value) = (u64_at(entry, 0)?, u64_at(entry, 8)?);
        if tag == NEEDED {
            names.push(text_at(strings, usize::try_from(value).ok()?)?);
        }
    }
    Some(names)
}

/// A kernel module's .modinfo: its `key=value` entries in order.
pub fn modinfo(file: &[u8]) -> Option<Vec<(String, String)>> {
    let sections = sections(file)?;
    let header_names = sections.get(usize::from(u16_at(file, 62)?))?;
    let names = bytes(file, header_names)?;
    let found =
        sections.iter().find(|s| text_at(names, s.name).is_some_and(|name| name == ".modinfo"))?;
    let entries = bytes(file, found)?.split(|&byte| byte == 0);
    Some(
        entries
            .filter_map(|entry| {
                let (key, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
                Some((key.to_owned(), value.to_owned()))
            })
            .collect(),
    )
}

fn sections(file: &[u8]) -> Option<Vec<Section>> {
    let class_and_order = file.get(4..6)?;
    if !is_elf(file) || class_and_order != [2, 1] {
        return None;
    }
    let start = usize::try_from(u64_at(file, 40)?).ok()?;
    let (size, count) = (usize::from(u16_at(file, 58)?), usize::from(u16_at(file, 60)?));
    (0..count)
        .map(|index| {
            let header = file.get(start.checked_add(index.checked_mul(size)?)?..)?;
            Some(Section {
                name: u32_at(header, 0)? as usize,
                kind: u32_at(header, 4)?,
                offset: usize::try_from(u64_at(header, 24)?).ok()?,
                size: usize::try_from(u64_at(header, 32)?).ok()?,
                link: u32_at(header, 40)? as usize,
            })
        })
        .collect()
}

fn bytes<'a>(file: &'a [u8], section: &Section) -> Option<&'a [u8]> {
    file.get(section.offset..section.offset.checked_add(section.size)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn text_at(strings: &[u8], at: usize) -> Option<String> {
    let rest = strings.get(at..)?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    String::from_utf8(rest[..end].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_needs_the_c_library_and_this_static_program_nothing() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(needed(&own), Some(Vec::new()));
        let program = std::fs::read("/bin/sh").unwrap();
        let needed = needed(&program).unwrap();
        assert!(needed.iter().any(|name| name.starts_with("libc.so")), "{needed:?}");
        assert_eq!(modinfo(&program), None);
    }

    #[test]
    fn damaged_files_are_refused_without_panic() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(needed(b"#!/bin/sh"), None);
        for end in (0..4096).chain([program.len() / 2, program.len() - 1]) {
            let _ = needed(&program[..end]);
            let _ = modinfo(&program[..end]);
        }
        for at in (0..64).chain(200..264) {
            let mut damaged = program[..program.len().min(100_000)].to_vec();
            damaged[at] ^= 0xff;
            let _ = needed(&damaged);
        }
    }

    /// A module is an ELF file whose .modinfo is found by name: three sections are enough.
    #[test]
    fn modinfo_is_found_by_its_name() {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let names = b"\0.modinfo\0";
        let info = b"license=GPL\0depends=stp,llc\0name=bridge\0";
        let (names_at, info_at) = (file.len(), file.len() + names.len());
        file.extend_from_slice(names);
        file.extend_from_slice(info);
        let headers_at = file.len() as u64;
        file[40..48].copy_from_slice(&headers_at.to_le_bytes());
        file[58..64].copy_from_slice(&[64, 0, 2, 0, 0, 0]);
        for (name, offset, size) in [(0_u32, names_at, names.len()), (1, info_at, info.len())] {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            file.extend_from_slice(&header);
        }
        let info = modinfo(&file).unwrap();
        assert_eq!(info[1], ("depends".to_owned(), "stp,llc".to_owned()));
    }
}
