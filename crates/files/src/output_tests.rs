use super::*;
use rustix::fs::{CWD, mknodat};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::PathBuf;

/// A user that has no account.
const OTHER: u32 = 54321;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Writes through an output.
fn put(path: &Path, text: &str) -> io::Result<()> {
    let mut output = Output::create(path)?;
    output.file().write_all(text.as_bytes())?;
    output.finish()
}

/// A folder of another user's, where tests run as root; and a victim's file beside it.
fn planted() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (folder, victim) = (outer.path().join("theirs"), outer.path().join("victim"));
    fs::create_dir(&folder).unwrap();
    fs::write(&victim, "untouched").unwrap();
    if rustix::process::geteuid().is_root() {
        lchown(&folder, Some(OTHER), Some(OTHER)).unwrap();
    }
    (outer, folder, victim)
}

fn plant(target: &Path, link: &Path) -> bool {
    symlink(target, link).unwrap();
    rustix::process::geteuid().is_root() && lchown(link, Some(OTHER), Some(OTHER)).is_ok()
}

#[test]
fn what_was_there_stays_until_the_file_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    fs::write(&path, "before").unwrap();
    let mut draft = Draft::create(&path).unwrap();
    draft.write_all(b"half").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"before");
    let found = names(folder.path());
    assert!(found.len() == 2 && parts_of("out", OsStr::new(&found[0])), "{found:?}");
    assert!(!parts_of("other", OsStr::new(&found[0])) && !parts_of("out", OsStr::new("out")));
    drop(draft);
    assert_eq!(names(folder.path()), ["out"]);
    put(&path, "after").unwrap();
    assert_eq!(
        (fs::read(&path).unwrap(), names(folder.path())),
        (b"after".to_vec(), vec!["out".into()])
    );
    let long = folder.path().join("x".repeat(255));
    put(&long, "long").unwrap();
    assert_eq!(fs::read(long).unwrap(), b"long");
}

#[test]
fn attack_by_planted_links_writes_nothing_through_them() {
    let (_outer, folder, victim) = planted();
    let (link, inner) = (folder.join("out"), folder.join("inner"));
    if !plant(&victim, &link) || !plant(victim.parent().unwrap(), &inner) {
        return;
    }
    for path in [&link, &inner.join("victim"), &inner.join("new")] {
        for error in [put(path, "x"), create_new(path).map(drop), open_lock(path).map(drop)] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains("is a symbolic link of user 54321"), "{error}");
        }
    }
    assert!(make_folders(&inner.join("new")).is_err() && check(&inner.join("a/b")).is_err());
    assert!(check(&folder.join("a/b")).is_ok(), "nothing is there");
    assert_eq!(names(victim.parent().unwrap()), ["theirs", "victim"]);
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
    // A hard link's other names keep what they had.
    let hard = folder.join("hard");
    fs::hard_link(&victim, &hard).unwrap();
    put(&hard, "mine").unwrap();
    assert_eq!(
        (fs::read(&victim).unwrap(), fs::read(&hard).unwrap()),
        (b"untouched".to_vec(), b"mine".to_vec())
    );
    let pipe = folder.join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    lchown(&pipe, Some(OTHER), Some(OTHER)).unwrap();
    let error = put(&pipe, "x").unwrap_err().to_string();
    assert!(error.contains("is a FIFO of user 54321"), "{error}");
}

#[test]
fn own_links_are_followed_to_the_place_that_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("sub")).unwrap();
    symlink("sub/real", at("link")).unwrap();
    symlink("sub/../sub", at("way")).unwrap();
    put(&at("link"), "one").unwrap();
    assert_eq!(fs::read(at("sub/real")).unwrap(), b"one");
    put(&at("way/real"), "two").unwrap();
    assert_eq!(fs::read(at("sub/real")).unwrap(), b"two");
    assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
    make_folders(&at("way/a/b")).unwrap();
    make_folders(&at("way/a/b")).unwrap();
    assert!(at("sub/a/b").is_dir());
    assert!(make_folders(&at("link")).is_err(), "a file is there");
    assert!(Draft::create(&at("sub")).is_err() && put(&at("sub"), "x").is_err());
}

#[test]
fn what_a_process_has_open_is_written_and_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let file = File::create(&path).unwrap();
    let before = fs::metadata(&path).unwrap().ino();
    put(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())), "text").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"text");
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    assert_eq!(names(folder.path()), ["out"]);
    put(Path::new("/dev/null"), "x").unwrap();
    let error = put(Path::new("/dev/full"), "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}

#[test]
fn a_new_file_is_new_and_a_lock_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    create_new(&path).unwrap().write_all(b"x").unwrap();
    assert_eq!(create_new(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    open_lock(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"x");
    open_lock(&folder.path().join("lock")).unwrap();
    assert!(open_lock(Path::new("/dev/null")).is_err());
}
