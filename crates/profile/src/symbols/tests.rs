use super::*;
use crate::in_memory;
use crate::profile_tests::{cycles, mapped, named, sample, stream};
use crate::{Named, Options};
use hostile::Random;
use model::{Mode, Role};
use std::fs;

/// A small ELF file: one segment of code at 0x1000 from offset 0x200, a build id, two functions.
pub(crate) fn small_elf(build_id: &[u8], stripped: bool) -> Vec<u8> {
    let mut file = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    let half = |n: u16| n.to_le_bytes();
    let word = |n: u32| n.to_le_bytes();
    let long = |n: u64| n.to_le_bytes();
    put(16, &half(2)); // executable
    put(18, &half(62)); // x86-64
    put(20, &word(1));
    put(32, &long(64)); // program headers
    put(40, &long(0x300)); // section headers
    put(52, &half(64));
    put(54, &half(56));
    put(56, &half(2));
    put(58, &half(64));
    put(60, &half(4));
    put(62, &half(2));
    put(64, &word(1)); // PT_LOAD
    put(68, &word(5));
    for (at, value) in [(72, 0x200), (80, 0x1000), (96, 0x100), (104, 0x100), (112, 0x1000)] {
        put(at, &long(value));
    }
    put(120, &word(4)); // PT_NOTE
    let size = 16 + build_id.len() as u64;
    for (at, value) in [(128, 0xb0), (152, size), (160, size), (168, 4)] {
        put(at, &long(value));
    }
    put(0xb0, &word(4));
    put(0xb4, &word(build_id.len() as u32));
    put(0xb8, &word(3));
    put(0xbc, b"GNU\0");
    put(0xc0, build_id);
    put(0x101, b"spin\0_ZN3foo3barEi\0.note.gnu.build-id\0.symtab\0.strtab\0");
    for (at, name, start, length) in [(0x158, 1, 0x1000u64, 0x40), (0x170, 6, 0x1040, 0)] {
        put(at, &word(name));
        put(at + 4, &[0x12, 0]); // global function
        put(at + 6, &half(1));
        put(at + 8, &long(start));
        put(at + 16, &long(length));
    }
    // Symbols at 0x140, their names at 0x100.
    put(0x344, &word(if stripped { 11 } else { 2 }));
    for (at, value) in [(0x358, 0x140u64), (0x360, 72), (0x378, 24)] {
        put(at, &long(value));
    }
    put(0x368, &word(2));
    put(0x384, &word(3));
    put(0x398, &long(0x100));
    put(0x3a0, &long(0x38));
    put(0x340, &word(39));
    put(0x380, &word(47));
    put(0x3c0, &word(20));
    put(0x3c4, &word(7));
    put(0x3d8, &long(0xb0));
    put(0x3e0, &long(size));
    file
}

const ID: [u8; 20] = [7; 20];

fn text(found: Result<Vec<Result<Function, Reason>>, Reason>) -> Vec<String> {
    let one = |name: Result<Function, Reason>| name.map_or_else(|r| r.to_string(), |f| f.name);
    found.unwrap().into_iter().map(one).collect()
}

#[test]
fn a_guests_file_is_read_by_its_table() {
    let file = small_elf(&ID, false);
    let id = BuildId(ID.to_vec());
    let names = text(elf::names(&file, Some(&id), &[0x1ff, 0x200, 0x23f, 0x240, 0x2ff, 0x300]));
    let none = "no symbol at the address";
    assert_eq!(names, [none, "spin", "spin", "foo::bar(int)", "foo::bar(int)", none]);
    let names = text(elf::names(&small_elf(&ID, true), Some(&id), &[0x200, 0x300]));
    assert_eq!(names, ["spin", "stripped: install its debug symbols"]);
}

#[test]
fn a_file_of_another_build_is_not_used() {
    let other = BuildId(vec![9; 20]);
    let refused = elf::names(&small_elf(&ID, false), Some(&other), &[0x200]);
    let Err(Reason::OtherBuild { recorded, found }) = refused else { panic!("{refused:?}") };
    assert_eq!((recorded, found), ("09".repeat(20), "07".repeat(20)));
    // A short id comes from perf with zeros behind it.
    let mut filled = vec![7; 8];
    filled.resize(20, 0);
    assert!(same_build(Some(&BuildId(filled)), Some(&[7; 8])).is_ok());
    assert!(same_build(Some(&other), None).is_err());
}

#[test]
fn a_real_file_is_read_alike_in_memory_and_piece_by_piece() {
    let path = std::env::current_exe().unwrap();
    let bytes = fs::read(&path).unwrap();
    let offsets: Vec<u64> = (0..2000).map(|n| bytes.len() as u64 / 4000 * n).collect();
    let ours = elf::names(&bytes, None, &offsets).unwrap();
    let theirs = host::Reader::new().names(&path, None, &offsets).unwrap();
    let named = ours.iter().filter(|name| name.is_ok()).count();
    assert!(named > 200, "{named}");
    assert!(ours == theirs);
}

#[test]
fn the_hosts_files_say_why_they_have_no_names() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    put("spin", &small_elf(&ID, false));
    put("text", b"#!/bin/sh");
    let streams = [stream("host", Role::Host, vec![cycles()])];
    let mut records = vec![named(7, "spin")];
    let files = ["/spin", "/text", "/gone", "/old (deleted)", "//anon", "[vdso]"];
    for (n, path) in (1u64..).zip(files) {
        let start = n * 0x1_0000;
        let mut map = mapped(7, start, path);
        if let model::What::Map(map) = &mut map.what {
            (map.offset, map.build_id) = (0x200, (path == "/spin").then(|| BuildId(ID.to_vec())));
        }
        records.extend([map, sample(9, (7, 7), Mode::User, start + 4)]);
    }
    let profile = Profile::read(&streams, vec![in_memory(records)], Options::default());
    let mut files = HostFiles::new(&streams, folder.path());
    files.root = folder.path().to_owned();
    let symbols = Symbols::find(&profile, &mut files);
    let named = Named::new(&profile, &symbols);
    let mut lines: Vec<_> = named
        .rows
        .iter()
        .map(|row| {
            let reason = row.naming.as_ref().err().map_or(String::new(), |r| r.to_string());
            let reason = reason.split(':').next().unwrap_or_default().to_owned();
            format!("{} {} {reason}", named.shown_image(row, true), named.shown_symbol(row))
        })
        .collect();
    lines.sort();
    let expected = [
        "//anon //anon+0x50004 no file",
        "/gone gone+0x204 file deleted",
        "/old (deleted) old (deleted)+0x204 file deleted",
        "/spin spin ",
        "/text text+0x204 malformed",
        "[vdso] [vdso]+0x60004 no file",
    ];
    assert_eq!(lines, expected);
}

/// What guests' agents would send: one small file, by whatever path.
struct Sent(Vec<(usize, Vec<u8>)>);

impl Images for Sent {
    fn open(&mut self, stream: usize, path: &[u8], _: Option<&BuildId>) -> Result<Binary, Reason> {
        self.0.push((stream, path.to_vec()));
        if path.starts_with(b"/no") {
            return Err(Reason::NotSent("refused".to_owned()));
        }
        Ok(Binary::Guest(small_elf(&ID, false).into()))
    }

    fn kallsyms(&mut self, _: usize) -> Result<Arc<[u8]>, Reason> {
        Err(Reason::NoKallsyms("none".to_owned()))
    }
}

#[test]
fn a_guests_file_is_asked_for_once_by_its_build_id_and_is_no_other_guests() {
    let guest = |name| stream(name, Role::SamplesItself, vec![cycles()]);
    let streams = [guest("web1"), guest("web2")];
    let records = |paths: [&str; 3]| {
        let mut records = Vec::new();
        for (n, path) in (1u64..).zip(paths) {
            let mut map = mapped(7, n * 0x1_0000, path);
            if let model::What::Map(map) = &mut map.what {
                (map.offset, map.build_id) = (0x200, Some(BuildId(ID.to_vec())));
            }
            records.extend([map, sample(9, (7, 7), Mode::User, n * 0x1_0000 + 4)]);
        }
        in_memory(records)
    };
    let records = vec![records(["/no", "/a", "/b"]), records(["/c", "/d", "/e"])];
    let profile = Profile::read(&streams, records, Options::default());
    let mut sent = Sent(vec![]);
    let named = Symbols::find(&profile, &mut sent);
    let asked: Vec<_> = sent.0.iter().map(|(stream, path)| (*stream, &path[..])).collect();
    assert_eq!(asked, [(0, &b"/no"[..]), (0, b"/a"), (1, b"/c")]);
    let spins = profile.entries.iter().filter(|(key, _)| {
        let naming = named.get(key.image, key.address).unwrap();
        naming.as_ref().is_ok_and(|function| function.name == "spin")
    });
    assert_eq!(spins.count(), 5);
}

#[test]
fn no_path_of_a_guests_is_opened_here() {
    let streams = [stream("web1", Role::SamplesItself, vec![cycles()])];
    let mut files = HostFiles::new(&streams, std::path::Path::new("/"));
    let refused = files.open(0, b"/etc/passwd", None);
    assert!(matches!(refused, Err(Reason::NotSent(_))), "{refused:?}");
    assert!(matches!(files.kallsyms(0), Err(Reason::NoKallsyms(_))));
}

const KALLSYMS: &str = "0000000000000000 A fixed_percpu_data
ffffffff81000000 T _text
ffffffff81000000 T _stext
ffffffff81000040 t do_idle
ffffffff81000040 T __pfx
not a line
ffffffff81000100 D data
ffffffffa0000000 t virtnet_poll\t[virtio_net]
";

#[test]
fn a_kernels_functions_and_modules() {
    let kernel = Kallsyms::parse(KALLSYMS.as_bytes().into()).unwrap();
    let find = |address| kernel.find(address).map(|f| (f.name, f.module));
    let name = |name: &str| Some((name.to_owned(), None));
    assert_eq!(find(0xffff_ffff_8100_0000), name("_text"));
    assert_eq!(find(0xffff_ffff_8100_0050), name("__pfx"), "a global name is the better");
    assert_eq!(find(0xffff_ffff_8100_0100), None, "data is no function");
    let module = Some(("virtnet_poll".to_owned(), Some("virtio_net".to_owned())));
    assert_eq!(find(0xffff_ffff_a000_0010), module);
    assert_eq!((find(0xffff_ffff_b000_0010), find(0x10)), (None, None));
    let hidden = "0000000000000000 T _text\n0000000000000000 t b\n";
    assert_eq!(Kallsyms::parse(hidden.as_bytes().into()).unwrap_err(), Reason::Hidden);
    let empty = Kallsyms::parse(b"\n\n"[..].into()).unwrap_err();
    assert!(matches!(empty, Reason::NoKallsyms(_)));
}

/// How many mutated files are tried.
fn cases() -> u64 {
    hostile::cases(30_000)
}

#[test]
fn no_file_of_a_guests_makes_it_panic() {
    let (whole, mut random) = (small_elf(&ID, false), Random::new(1));
    let (mut named, mut refused) = (0u64, 0u64);
    for _ in 0..cases() {
        let mut file = whole.clone();
        random.mutate(&mut file);
        match elf::names(&file, None, &[0, 0x200, 0x250, u64::MAX]) {
            Ok(names) => named += u64::from(names.iter().any(Result::is_ok)),
            Err(_) => refused += 1,
        }
    }
    assert!(named > cases() / 10 && refused > cases() / 100, "{named} {refused}");
}

#[test]
fn no_kallsyms_of_a_guests_makes_it_panic() {
    let mut random = Random::new(2);
    for _ in 0..cases() {
        let mut text = KALLSYMS.as_bytes().to_vec();
        random.mutate(&mut text);
        if let Ok(kernel) = Kallsyms::parse(text.into()) {
            for address in [0, 0xffff_ffff_8100_0041, 0xffff_ffff_a000_0000, u64::MAX] {
                let _ = kernel.find(address);
            }
        }
    }
}

#[test]
fn no_mangled_name_makes_it_panic() {
    let mut random = Random::new(3);
    let names =
        [&b"_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE"[..], b"_ZNSt4pairIiS_E3fooEv"];
    for case in 0..cases() {
        let mut name = names[case as usize % 2].to_vec();
        random.mutate(&mut name);
        let name = function(&name, Some(b"m")).name;
        assert!(name.len() <= LONGEST);
    }
}
