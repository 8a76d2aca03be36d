use super::super::tests::small_elf;
use super::*;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const ID: [u8; 20] = [7; 20];
/// Where in the small ELF file the size of its symbol table is.
const TABLE_SIZE: u64 = 0x360;

fn reader(debug: &Path) -> Reader {
    Reader { debug: debug.to_owned() }
}

fn text(names: Vec<Result<Function, Reason>>) -> Vec<String> {
    let one = |name: Result<Function, Reason>| name.map_or_else(|r| r.to_string(), |f| f.name);
    names.into_iter().map(one).collect()
}

/// The peak of this process's memory, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_stripped_file_is_named_by_its_debug_symbols() {
    let folder = tempfile::tempdir().unwrap();
    let (path, debug) = (folder.path().join("spin"), folder.path().join("debug"));
    let mut stripped = small_elf(&ID, true);
    // Nothing is exported either.
    stripped[usize::try_from(TABLE_SIZE).unwrap()] = 24;
    fs::write(&path, stripped).unwrap();
    let names = || text(reader(&debug).names(&path, None, &[0x200, 0x240]).unwrap());
    assert_eq!(names(), ["stripped: install its debug symbols"; 2]);
    let by_id = debug.join(".build-id/07").join(format!("{}.debug", "07".repeat(19)));
    fs::create_dir_all(by_id.parent().unwrap()).unwrap();
    fs::write(&by_id, small_elf(&[9; 20], false)).unwrap();
    assert_eq!(names(), ["stripped: install its debug symbols"; 2], "those of another build");
    fs::write(&by_id, small_elf(&ID, false)).unwrap();
    assert_eq!(names(), ["spin", "foo::bar(int)"]);
}

#[test]
fn attack_by_a_sparse_symbol_table_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    let before = peak();
    for size in [1_u64 << 40, 1 << 29, 40 << 20] {
        fs::write(&path, small_elf(&ID, false)).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&size.to_le_bytes(), TABLE_SIZE).unwrap();
        file.set_len(size + 4096).unwrap();
        let refused = reader(folder.path()).names(&path, None, &[0x200]);
        assert!(matches!(refused, Err(Reason::TooLarge(_))), "{size} {refused:?}");
    }
    let grown = peak() - before;
    println!("{grown} bytes more");
    assert!(grown < 32 << 20, "{grown}");
}

#[test]
fn attack_by_what_takes_a_files_place_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", at("zero")).unwrap();
    for (name, what) in [("pipe", "a FIFO"), ("zero", "a device"), (".", "a directory")] {
        let refused = reader(folder.path()).names(&at(name), None, &[0]);
        let Err(Reason::Unreadable(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains(what), "{why}");
    }
}

/// Cut short while it is read: a mapped file would end the program with SIGBUS.
#[test]
fn attack_by_cutting_a_file_short_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    let whole = fs::read(std::env::current_exe().unwrap()).unwrap();
    fs::write(&path, &whole).unwrap();
    let stop = AtomicBool::new(false);
    let (mut named, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = File::options().write(true).open(&path).unwrap();
            while !stop.load(Relaxed) {
                file.set_len(whole.len() as u64 / 2).unwrap();
                file.write_all_at(&whole, 0).unwrap();
            }
        });
        let reader = reader(folder.path());
        for _ in 0..100 {
            match reader.names(&path, None, &[whole.len() as u64 / 4]) {
                Ok(_) => named += 1,
                Err(_) => refused += 1,
            }
        }
        stop.store(true, Relaxed);
    });
    println!("{named} read, {refused} refused");
    assert_eq!(named + refused, 100);
}
