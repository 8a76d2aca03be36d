//! What was there before a capture began: the kernel, its modules, processes and their maps.

use model::{BuildId, Map, Nanos, Record, What};
use std::fs;
use std::path::Path;

/// The process whose maps are the kernel's.
const KERNEL: u32 = u32::MAX;
/// What of the kernel lies in front of the modules.
const KERNEL_NAME: &[u8] = b"[kernel.kallsyms]";

/// Names and executable maps of the machine below `root`, as the kernel would have told them, at
/// time 0. What cannot be read, or ends meanwhile, is left out.
#[must_use]
pub fn existing(root: &Path) -> Vec<Record> {
    let mut found = Vec::new();
    kernel(root, &mut found);
    for entry in fs::read_dir(root.join("proc")).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            process(&entry.path(), pid, &mut found);
        }
    }
    found.into_iter().map(|what| Record { time: Nanos::ZERO, cpu: 0, what }).collect()
}

/// A process, whose first thread names it, and its threads.
fn process(place: &Path, pid: u32, found: &mut Vec<What>) {
    for entry in fs::read_dir(place.join("task")).into_iter().flatten().flatten() {
        let tid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let (Some(tid), Ok(mut name)) = (tid, fs::read(entry.path().join("comm"))) else {
            continue;
        };
        while name.last() == Some(&b'\n') {
            name.pop();
        }
        found.push(What::Name { pid, tid, name, exec: false });
    }
    let maps = fs::read(place.join("maps")).unwrap_or_default();
    found.extend(maps.split(|&b| b == b'\n').filter_map(|line| map(pid, line)).map(What::Map));
}

/// A line of /proc/PID/maps: `START-END r-xp OFFSET DEV INODE   PATH`.
fn map(pid: u32, line: &[u8]) -> Option<Map> {
    let mut words = line.splitn(6, |&b| b == b' ');
    let mut text = || std::str::from_utf8(words.next()?).ok();
    let (start, end) = text()?.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let length = u64::from_str_radix(end, 16).ok()?.checked_sub(start)?;
    if !text()?.contains('x') {
        return None;
    }
    let offset = u64::from_str_radix(text()?, 16).ok()?;
    let (_device, _inode) = (text()?, text()?);
    let path = words.next().unwrap_or_default().trim_ascii_start();
    let path = if path.is_empty() { &b"//anon"[..] } else { path };
    Some(Map { pid, tid: pid, start, length, offset, build_id: None, path: path.to_vec() })
}

fn kernel(root: &Path, found: &mut Vec<What>) {
    let symbols = fs::read_to_string(root.join("proc/kallsyms")).unwrap_or_default();
    let address = |name: &str| {
        let line = symbols.lines().find(|line| line.split(' ').nth(2) == Some(name))?;
        u64::from_str_radix(line.split(' ').next()?, 16).ok().filter(|&address| address != 0)
    };
    if let (Some(start), Some(end)) =
        (address("_stext").or_else(|| address("_text")), address("_etext"))
    {
        let build_id = note(&fs::read(root.join("sys/kernel/notes")).unwrap_or_default());
        found.push(of_kernel(start, end.saturating_sub(start), build_id, KERNEL_NAME.to_vec()));
    }
    for line in fs::read_to_string(root.join("proc/modules")).unwrap_or_default().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, size, _, _, _, start, ..] = words[..] else { continue };
        let start = start.strip_prefix("0x").and_then(|start| u64::from_str_radix(start, 16).ok());
        let (Some(start @ 1..), Ok(size)) = (start, size.parse()) else { continue };
        let notes = root.join("sys/module").join(name).join("notes/.note.gnu.build-id");
        let build_id = note(&fs::read(notes).unwrap_or_default());
        found.push(of_kernel(start, size, build_id, format!("[{name}]").into_bytes()));
    }
}

fn of_kernel(start: u64, length: u64, build_id: Option<BuildId>, path: Vec<u8>) -> What {
    What::Map(Map { pid: KERNEL, tid: KERNEL, start, length, offset: start, build_id, path })
}

/// The build id among ELF notes: NT_GNU_BUILD_ID (3) of `GNU`.
fn note(mut bytes: &[u8]) -> Option<BuildId> {
    loop {
        let (head, rest) = bytes.split_first_chunk::<12>()?;
        let word =
            |at: usize| head[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize);
        let (name, size, kind) = (word(0)?, word(4)?, word(8)?);
        let whole = |count: usize| Some(count.checked_add(3)? & !3);
        let (owner, rest) = rest.split_at_checked(whole(name)?)?;
        let (id, rest) = rest.split_at_checked(whole(size)?)?;
        if kind == 3 && owner.starts_with(b"GNU\0") {
            return Some(BuildId(id.get(..size.min(20))?.to_vec()));
        }
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_its_code_are_there() {
        let found = existing(Path::new("/"));
        let me = std::process::id();
        let own = std::env::current_exe().unwrap();
        assert!(found.iter().any(|record| matches!(
            &record.what,
            What::Map(map) if map.pid == me && map.path == own.as_os_str().as_encoded_bytes()
        )));
        assert!(found.iter().any(|r| matches!(&r.what, What::Name { pid, .. } if *pid == me)));
    }

    #[test]
    fn a_line_of_maps_is_read_and_anything_else_survived() {
        let line = b"7f0c1000-7f0c3000 r-xp 00001000 fe:00 1234     /usr/lib/a file (deleted)";
        let found = map(7, line).unwrap();
        assert_eq!((found.start, found.length, found.offset), (0x7f0c_1000, 0x2000, 0x1000));
        assert_eq!(found.path, b"/usr/lib/a file (deleted)");
        assert_eq!(map(7, b"7f0c1000-7f0c3000 rw-p 00001000 fe:00 1234 /x"), None);
        for cut in 0..line.len() {
            let _ = map(7, &line[..cut]);
        }
        assert_eq!(map(7, b"7f0c3000-7f0c1000 r-xp 0 0 0"), None);
    }

    #[test]
    fn a_build_id_is_found_among_notes() {
        let mut notes = vec![4, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0];
        notes.extend(b"Xen\0\x01\0\0\0");
        notes.extend([4, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0]);
        notes.extend(b"GNU\0\xde\xad\x01\0");
        assert_eq!(note(&notes), Some(BuildId(vec![0xde, 0xad, 1])));
        for cut in 0..notes.len() {
            let _ = note(&notes[..cut]);
        }
        assert_eq!(note(&[0xff; 64]), None);
    }
}
