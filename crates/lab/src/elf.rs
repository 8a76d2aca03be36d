//! What the lab reads of ELF files: which libraries a program needs, and a kernel module's own
//! description of itself. 64-bit little-endian files only.

use object::LittleEndian;
use object::elf::{DT_NEEDED, FileHeader64};
use object::read::elf::{FileHeader, SectionHeader, SectionTable};

type Header = FileHeader64<LittleEndian>;

/// Whether the bytes start as an ELF file does.
pub fn is_elf(file: &[u8]) -> bool {
    file.starts_with(b"\x7fELF")
}

/// The names of the shared libraries that a program or library needs; none for a static one.
/// `None`: the file is not a readable ELF file.
pub fn needed(file: &[u8]) -> Option<Vec<String>> {
    let table = sections(file)?.dynamic_table(LittleEndian, file).ok()?;
    let needed = table.iter().filter(|entry| entry.tag == DT_NEEDED);
    needed.map(|entry| String::from_utf8(table.string(entry).ok()?.to_vec()).ok()).collect()
}

/// A kernel module's .modinfo: its `key=value` entries in order.
pub fn modinfo(file: &[u8]) -> Option<Vec<(String, String)>> {
    let sections = sections(file)?;
    let (_, section) = sections.section_by_name(LittleEndian, b".modinfo")?;
    let entries = section.data(LittleEndian, file).ok()?.split(|&byte| byte == 0);
    Some(
        entries
            .filter_map(|entry| {
                let (key, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
                Some((key.to_owned(), value.to_owned()))
            })
            .collect(),
    )
}

fn sections(file: &[u8]) -> Option<SectionTable<'_, Header>> {
    Header::parse(file).ok()?.sections(LittleEndian, file).ok()
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
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        let names = b"\0.modinfo\0";
        let info = b"license=GPL\0depends=stp,llc\0name=bridge\0";
        let (names_at, info_at) = (file.len(), file.len() + names.len());
        file.extend_from_slice(names);
        file.extend_from_slice(info);
        let headers_at = file.len() as u64;
        file[40..48].copy_from_slice(&headers_at.to_le_bytes());
        // e_shentsize, e_shnum, e_shstrndx.
        file[58..64].copy_from_slice(&[64, 0, 3, 0, 1, 0]);
        // Name, type (none, a table of strings, data), offset and size.
        for (name, kind, offset, size) in
            [(0_u32, 0_u32, 0, 0), (0, 3, names_at, names.len()), (1, 1, info_at, info.len())]
        {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            file.extend_from_slice(&header);
        }
        let info = modinfo(&file).unwrap();
        assert_eq!(info[1], ("depends".to_owned(), "stp,llc".to_owned()));
    }
}
