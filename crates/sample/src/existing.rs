//! What was there before a capture began: the kernel, its modules, processes and their maps.

use crate::build_id;
use model::{BuildId, Map, Nanos, Record, What};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The process whose maps are the kernel's.
const KERNEL: u32 = u32::MAX;
/// Bytes of a name, of a list of maps or modules, and of kallsyms that are read: some times what
/// real ones have.
const MOST_NAME: usize = 256;
const MOST_TEXT: usize = 16 << 20;
const MOST_SYMBOLS: usize = 64 << 20;
/// What of the kernel lies in front of the modules.
const KERNEL_NAME: &[u8] = b"[kernel.kallsyms]";

/// Names and executable maps of the machine below `root`, as the kernel would have told them, at
/// time 0. What cannot be read, or ends meanwhile, is left out. Files that are mapped are opened
/// for their build ids, each of them once; a saved tree has none.
#[must_use]
pub fn existing(root: &Path) -> Vec<Record> {
    let mut found = Vec::new();
    let mut known = HashMap::new();
    kernel(root, &mut found);
    for entry in fs::read_dir(root.join("proc")).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            process(&entry.path(), pid, &mut known, &mut found);
        }
    }
    found.into_iter().map(|what| Record { time: Nanos::ZERO, cpu: 0, what }).collect()
}

/// Build ids by device and inode.
type Known = HashMap<(u64, u64), Option<BuildId>>;

/// A process, whose first thread names it, and its threads.
fn process(place: &Path, pid: u32, known: &mut Known, found: &mut Vec<What>) {
    for entry in fs::read_dir(place.join("task")).into_iter().flatten().flatten() {
        let tid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let (Some(tid), Some(mut name)) = (tid, read(&entry.path().join("comm"), MOST_NAME)) else {
            continue;
        };
        while name.last() == Some(&b'\n') {
            name.pop();
        }
        found.push(What::Name { pid, tid, name, exec: false });
    }
    let maps = read(&place.join("maps"), MOST_TEXT).unwrap_or_default();
    for line in maps.split(|&byte| byte == b'\n') {
        let Some(Line { mut map, inode }) = line_of(pid, line) else { continue };
        if inode != 0 {
            map.build_id = build_id_of(place, &map, inode, known);
        }
        found.push(What::Map(Box::new(map)));
    }
}

/// The build id of the file that a process maps. The kernel's own way to the file is right in any
/// mount namespace and after its removal, but for root alone.
fn build_id_of(place: &Path, map: &Map, inode: u64, known: &mut Known) -> Option<BuildId> {
    let range = format!("{:x}-{:x}", map.start, map.start.checked_add(map.length)?);
    let way = place.join("map_files").join(range);
    let way = if build_id::identity(&way).is_some() {
        way
    } else {
        let path = Path::new(OsStr::from_bytes(&map.path));
        place.join("root").join(path.strip_prefix("/").ok()?)
    };
    // Another file may have taken the place of the one that is mapped.
    let identity = build_id::identity(&way).filter(|(_, found)| *found == inode)?;
    known.entry(identity).or_insert_with(|| build_id::of_file(&way)).clone()
}

/// A line of /proc/PID/maps.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    map: Map,
    /// The file's; 0 where there is none.
    inode: u64,
}

/// Reads `START-END r-xp OFFSET DEV INODE   PATH`.
fn line_of(pid: u32, line: &[u8]) -> Option<Line> {
    let mut words = line.splitn(6, |&b| b == b' ');
    let mut text = || std::str::from_utf8(words.next()?).ok();
    let (start, end) = text()?.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let length = u64::from_str_radix(end, 16).ok()?.checked_sub(start)?;
    if !text()?.contains('x') {
        return None;
    }
    let offset = u64::from_str_radix(text()?, 16).ok()?;
    let (_device, inode) = (text()?, text()?.parse().ok()?);
    let path = words.next().unwrap_or_default().trim_ascii_start();
    let path = if path.is_empty() { b"//anon".to_vec() } else { unescape(path) };
    let map = Map { pid, tid: pid, start, length, offset, build_id: None, path };
    Some(Line { map, inode })
}

/// A path as the kernel's records have it: /proc writes a line's end in it as `\012`.
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            plain.push(b'\n');
            rest = after;
        } else {
            plain.push(byte);
            rest = after;
        }
    }
    plain
}

fn kernel(root: &Path, found: &mut Vec<What>) {
    if let Some((start, end)) = text(&root.join("proc/kallsyms")) {
        let notes = read(&root.join("sys/kernel/notes"), MOST_TEXT).unwrap_or_default();
        let build_id = build_id::among(&notes);
        found.push(of_kernel(start, end.saturating_sub(start), build_id, KERNEL_NAME.to_vec()));
    }
    let modules = read(&root.join("proc/modules"), MOST_TEXT).unwrap_or_default();
    for line in String::from_utf8_lossy(&modules).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, size, _, _, _, start, ..] = words[..] else { continue };
        let start = start.strip_prefix("0x").and_then(|start| u64::from_str_radix(start, 16).ok());
        let (Some(start @ 1..), Ok(size)) = (start, size.parse()) else { continue };
        if name.starts_with('.') || name.contains('/') {
            continue;
        }
        let notes = root.join("sys/module").join(name).join("notes/.note.gnu.build-id");
        let build_id = build_id::among(&read(&notes, MOST_TEXT).unwrap_or_default());
        found.push(of_kernel(start, size, build_id, format!("[{name}]").into_bytes()));
    }
}

/// Where the kernel's own code begins and ends: `_stext` (or `_text`) and `_etext`, which are 0
/// where kptr_restrict hides them.
fn text(kallsyms: &Path) -> Option<(u64, u64)> {
    let lines = read(kallsyms, MOST_SYMBOLS)?;
    let (mut text, mut stext, mut etext) = (None, None, None);
    // Hundreds of thousands of lines are passed over by their ends.
    for end in memchr::memmem::find_iter(&lines, b"text\n") {
        let before = lines.get(..end)?;
        let from = memchr::memrchr(b'\n', before).map_or(0, |before| before + 1);
        let mut words = lines.get(from..end + b"text".len())?.splitn(3, |&b| b == b' ');
        let (Some(address), Some(name)) = (words.next(), words.nth(1)) else { continue };
        let found = match name {
            b"_text" => &mut text,
            b"_stext" => &mut stext,
            b"_etext" => &mut etext,
            _ => continue,
        };
        let address = std::str::from_utf8(address).ok()?;
        *found = u64::from_str_radix(address, 16).ok().filter(|&address| address != 0);
        if etext.is_some() {
            break;
        }
    }
    Some((stext.or(text)?, etext?))
}

/// The file's first bytes.
fn read(path: &Path, most: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    files::read_into(files::open(path).ok()?, &mut bytes, most).ok()?;
    Some(bytes)
}

fn of_kernel(start: u64, length: u64, build_id: Option<BuildId>, path: Vec<u8>) -> What {
    What::Map(Box::new(Map {
        pid: KERNEL,
        tid: KERNEL,
        start,
        length,
        offset: start,
        build_id,
        path,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of this process.
    fn own() -> Vec<What> {
        let me = std::process::id();
        let found = existing(Path::new("/")).into_iter().map(|record| record.what);
        found
            .filter(|what| match what {
                What::Map(map) => map.pid == me,
                What::Name { pid, .. } => *pid == me,
                _ => false,
            })
            .collect()
    }

    #[test]
    fn this_process_and_its_code_are_there() {
        let path = std::env::current_exe().unwrap();
        let found = own();
        let map = found.iter().find_map(|what| match what {
            What::Map(map) if map.path == path.as_os_str().as_bytes() => Some(map),
            _ => None,
        });
        let here = this_process_and_its_code_are_there as fn() as usize as u64;
        let map = map.unwrap();
        assert!((map.start..map.start + map.length).contains(&here));
        assert!(found.iter().any(|what| matches!(what, What::Name { .. })));
    }

    #[test]
    fn mapped_files_have_the_build_ids_that_they_say() {
        let mut seen = 0;
        for what in own() {
            let What::Map(map) = what else { continue };
            let path = Path::new(OsStr::from_bytes(&map.path));
            let known = path.is_file().then(|| build_id::of_file(path)).flatten();
            assert_eq!(map.build_id, known, "{}", path.display());
            seen += usize::from(known.is_some());
        }
        // The C library of any distribution has one.
        assert!(seen > 0);
    }

    #[test]
    fn a_kernel_and_its_modules_are_read_below_a_root() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        let put = |path: &str, bytes: &[u8]| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let note =
            |id: u8| [&[4, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0][..], b"GNU\0", &[id, 0, 0, 0]].concat();
        let symbols = "ffffffff81000000 T _text\nffffffff81000100 T _stext\n\
                       ffffffff81abc000 T _etext\nffffffffc0001000 t f\t[tun]\n";
        put("proc/kallsyms", symbols.as_bytes());
        put("sys/kernel/notes", &note(0xaa));
        put(
            "proc/modules",
            b"tun 61440 0 - Live 0xffffffffc0001000\nx 1 0 - Live 0x0\n../y 1 0 - Live 0x1\n",
        );
        put("sys/module/tun/notes/.note.gnu.build-id", &note(0xbb));
        put("proc/7/task/7/comm", b"a b\n");
        put("proc/7/maps", b"1000-3000 r-xp 00001000 fe:00 0   /bin/a\\012b\n");
        let found = existing(root);
        let id = |id| Some(BuildId(vec![id]));
        let kernel = |start, length, id, path: &[u8]| of_kernel(start, length, id, path.to_vec());
        let named = What::Name { pid: 7, tid: 7, name: b"a b".to_vec(), exec: false };
        let mapped = Map {
            pid: 7,
            tid: 7,
            start: 0x1000,
            length: 0x2000,
            offset: 0x1000,
            build_id: None,
            path: b"/bin/a\nb".to_vec(),
        };
        let expected = [
            kernel(0xffff_ffff_8100_0100, 0xab_bf00, id(0xaa), KERNEL_NAME),
            kernel(0xffff_ffff_c000_1000, 61440, id(0xbb), b"[tun]"),
            named,
            What::Map(Box::new(mapped)),
        ];
        assert_eq!(found.into_iter().map(|record| record.what).collect::<Vec<_>>(), expected);
        put("proc/kallsyms", b"0000000000000000 T _stext\n0000000000000000 T _etext\n");
        let is_kernel =
            |record: &Record| matches!(&record.what, What::Map(map) if map.path == KERNEL_NAME);
        assert!(!existing(root).iter().any(is_kernel), "addresses are hidden");
    }

    #[test]
    fn a_line_of_maps_is_read_and_anything_else_survived() {
        let line = b"7f0c1000-7f0c3000 r-xp 00001000 fe:00 1234     /usr/lib/a file (deleted)";
        let Line { map: found, inode } = line_of(7, line).unwrap();
        assert_eq!(inode, 1234);
        assert_eq!((found.start, found.length, found.offset), (0x7f0c_1000, 0x2000, 0x1000));
        assert_eq!(found.path, b"/usr/lib/a file (deleted)");
        assert_eq!(line_of(7, b"7f0c1000-7f0c3000 rw-p 00001000 fe:00 1234 /x"), None);
        for cut in 0..line.len() {
            let _ = line_of(7, &line[..cut]);
        }
        assert_eq!(line_of(7, b"7f0c3000-7f0c1000 r-xp 0 0 0"), None);
    }
}
