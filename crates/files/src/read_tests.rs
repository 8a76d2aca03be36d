use super::*;
use rustix::fs::mknodat;
use std::fs;
use std::os::unix::fs::symlink;

fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[test]
fn attack_by_fifos_devices_and_links_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "text").unwrap();
    pipe(&at("pipe"));
    symlink("/dev/zero", at("zero")).unwrap();
    symlink("file", at("link")).unwrap();
    for (name, what) in [("pipe", "a FIFO"), ("zero", "a device"), (".", "a directory")] {
        let error = read(&at(name), 10).unwrap_err();
        assert_eq!(error.to_string(), format!("is {what}, not a regular file"));
    }
    assert_eq!(read(&at("link"), 4).unwrap(), b"text");
    let error = read_without_link(&at("link"), 4).unwrap_err();
    assert_eq!(error.to_string(), "is a symbolic link, not a regular file");
    assert_eq!(read_without_link(&at("file"), 4).unwrap(), b"text");
}

#[test]
fn attack_by_endless_files_ends_at_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = read(&path, 100_000).unwrap_err();
    assert!(is_too_large(&error), "{error}");
    assert_eq!(error.to_string(), "larger than 100000 bytes");
    let mut bytes = Vec::new();
    assert!(read_into(File::open(&path).unwrap(), &mut bytes, 100_000).unwrap());
    assert_eq!(bytes.len(), 100_000);
    assert!(bytes.capacity() < 400_000, "{}", bytes.capacity());
    fs::write(&path, vec![7; 100_000]).unwrap();
    assert_eq!(read(&path, 100_000).unwrap(), vec![7; 100_000]);
    assert!(read(&path, 99_999).is_err());
    assert_eq!(read_text(Path::new("/proc/self/comm"), 100).unwrap().lines().count(), 1);
}

#[test]
fn attack_by_links_out_of_a_tree_stays_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join("tree").join(name);
    fs::create_dir_all(at("proc/sys")).unwrap();
    fs::write(at("proc/stat"), "inner").unwrap();
    fs::write(folder.path().join("stat"), "outer").unwrap();
    symlink("../../../stat", at("proc/up")).unwrap();
    symlink("/proc/stat", at("proc/absolute")).unwrap();
    symlink("../stat", at("proc/sys/near")).unwrap();
    symlink("..", at("proc/sys/folder")).unwrap();
    symlink("loop", at("proc/loop")).unwrap();
    let root = File::open(folder.path().join("tree")).unwrap();
    let read = |path: &str| -> io::Result<Vec<u8>> {
        whole(open_within(root.as_fd(), Path::new(path))?, 10)
    };
    for path in ["/proc/stat", "proc/absolute", "proc/sys/near", "proc/sys/folder/stat"] {
        assert_eq!(read(path).unwrap(), b"inner", "{path}");
    }
    assert_eq!(read("/../../proc/stat").unwrap(), b"inner", "`..` stays in the tree");
    assert_eq!(read("proc/up").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(read("proc/none").unwrap_err().kind(), ErrorKind::NotFound);
    assert!(read("proc/loop").is_err());
    assert!(read("proc/stat/x").is_err());
}
