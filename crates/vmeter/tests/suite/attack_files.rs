//! Attacks by files: what an ordinary user's processes, folders and recordings do to a vmeter that
//! root runs. Tests that need another user, or a file system of their own, run as root.

use crate::processes::{Disk, Killed, said};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A user that has no account.
const OTHER: u32 = 54321;
/// What any command may take of memory, and of time beside all other tests.
const MAX_MEMORY: u64 = 200 << 20;
const MAX_TIME: Duration = Duration::from_secs(50);

/// A command of this program's, which is killed where it does not end in time.
fn vmeter(args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "60", env!("CARGO_BIN_EXE_vmeter")]).args(args).stdin(Stdio::null());
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs it; what came of it, and the most memory that it took.
fn watched(mut command: Command) -> (Output, u64) {
    let began = Instant::now();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let timeout = child.id();
    let peak = std::thread::spawn(move || {
        let mut peak = 0;
        while let Ok(children) =
            fs::read_to_string(format!("/proc/{timeout}/task/{timeout}/children"))
        {
            for pid in children.split_whitespace() {
                let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
                peak = peak.max(kib.unwrap_or(0_u64) * 1024);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        peak
    });
    let output = child.wait_with_output().unwrap();
    let (time, peak) = (began.elapsed(), peak.join().unwrap());
    println!("{:?}, {} MB, {}: {}", time, peak >> 20, output.status, said(&output));
    assert!(time < MAX_TIME, "{time:?}");
    assert!(peak < MAX_MEMORY, "{} MB", peak >> 20);
    (output, peak)
}

/// A process of another user's whose command line has 16 GB, with the looks of a helper of VMs
/// (`virtiofsd`) and two threads, as a VMM has.
fn boaster() -> Killed {
    const SCRIPT: &str = r#"
        use threads;
        my $length = 16 << 30;
        # mmap(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
        my $at = syscall(9, 0, $length, 3, 0x4022, -1, 0);
        open(my $file, '<', '/proc/self/stat') or die;
        my $stat = <$file>;
        my @stat = split(' ', substr($stat, rindex($stat, ')') + 2));
        # struct prctl_mm_map: start_code … env_end, auxv, auxv_size, exe_fd
        my ($code, $code_end, $stack) = @stat[23, 24, 25];
        my ($data, $data_end, $brk) = @stat[42, 43, 44];
        my $map = pack('Q12 L l', $code, $code_end, $data, $data_end, $brk, syscall(12, 0), $stack,
            $at, $at + $length, $at, $at, 0, 0, -1);
        # PR_SET_MM, PR_SET_MM_MAP
        syscall(157, 35, 14, $map, length($map), 0) == 0 or die "prctl: $!";
        my $name = "virtiofsd\0";
        syscall(157, 15, $name, 0, 0, 0);
        threads->create(sub { sleep 1000 });
        $| = 1;
        print "ready\n";
        sleep 1000;
    "#;
    let user = OTHER.to_string();
    let mut child = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups", "perl", "-e", SCRIPT])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "the attack stands");
    Killed(vec![child])
}

#[test]
fn attack_by_a_command_line_of_16_gb_costs_nothing() {
    let boaster = boaster();
    let mut start = vec![0; 4096];
    let path = format!("/proc/{}/cmdline", boaster.0[0].id());
    std::io::Read::read_exact(&mut fs::File::open(path).unwrap(), &mut start).unwrap();
    assert!(start.iter().all(|byte| *byte == 0), "its command line is what it made of it");
    for args in [
        &["top", "--batch", "--count", "2", "--interval", "100ms"][..],
        &["top", "--platform", "kvm", "--batch", "--count", "2", "--interval", "100ms"],
        &["cpu", "--", "true"],
    ] {
        let (output, _) = watched(vmeter(args));
        assert!(output.status.success() || args.contains(&"kvm"), "{}", said(&output));
    }
}

/// A folder of another user's, with a link to a victim's file at `name`.
fn planted(at: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (folder, victim) = (at.join("theirs"), at.join("victim"));
    fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(&folder).unwrap();
    chown(&folder, Some(OTHER), Some(OTHER)).unwrap();
    fs::write(&victim, "untouched").unwrap();
    let link = folder.join(name);
    symlink(&victim, &link).unwrap();
    lchown(&link, Some(OTHER), Some(OTHER)).unwrap();
    (link, victim)
}

#[test]
fn attack_by_planted_links_changes_no_file_of_others() {
    let place = tempfile::tempdir().unwrap();
    let (link, victim) = planted(place.path(), "out");
    let out = text(&link);
    for args in [
        &["cpu", "-o", out, "--", "true"][..],
        &["cpu", "--save", out],
        &["cpu", "--save", out, "--", "true"],
        &["record", "-e", "cpu-clock:1M", "-o", out, "--", "true"],
        &["study", "run", "quick", "-o", out],
        &["capture", out],
        &["bench", "cpu", "--json", out],
    ] {
        let (output, _) = watched(vmeter(args));
        assert!(!output.status.success(), "{args:?}");
        let said = said(&output);
        assert!(said.contains("is a symbolic link of user 54321"), "{args:?}: {said}");
    }
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
    assert_eq!(fs::read_dir(link.parent().unwrap()).unwrap().count(), 1);
}

/// The names that earlier versions used beside their outputs could be foreseen.
#[test]
fn attack_by_links_at_the_names_of_temporary_files_changes_no_file_of_others() {
    let place = tempfile::tempdir().unwrap();
    let (link, victim) = planted(place.path(), "recording.json.part");
    let folder = link.parent().unwrap();
    // A recording's folder is taken where it is empty: its owner is faster than the recorder.
    let dir = place.path().join("rec");
    fs::create_dir(&dir).unwrap();
    let args = ["record", "-e", "cpu-clock:1M", "--duration", "3s", "-o", text(&dir)];
    let recorder = vmeter(&args).stderr(Stdio::piped()).spawn().unwrap();
    let until = Instant::now() + MAX_TIME;
    while !dir.join("recording.json").exists() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
    for name in ["recording.json.part", "stream-0.vmr.part", "counters.jsonl.part"] {
        symlink(&victim, dir.join(name)).unwrap();
        lchown(dir.join(name), Some(OTHER), Some(OTHER)).unwrap();
    }
    let output = recorder.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
    fs::rename(&link, folder.join("lock")).unwrap();
    let (output, _) = watched(vmeter(&["study", "run", "quick", "-o", text(folder)]));
    assert!(said(&output).contains("is a symbolic link of user 54321"), "{}", said(&output));
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
}

/// Something that is not a file in the place of each file that is read.
fn traps(place: &Path) -> Vec<PathBuf> {
    let pipe = place.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let zero = place.join("zero");
    symlink("/dev/zero", &zero).unwrap();
    let sparse = place.join("sparse");
    fs::File::create(&sparse).unwrap().set_len(1 << 40).unwrap();
    vec![pipe, zero, sparse]
}

#[test]
fn attack_by_fifos_and_devices_for_files_ends_at_once() {
    let place = tempfile::tempdir().unwrap();
    let made = place.path().join("rec");
    let args = ["record", "-e", "cpu-clock:1M", "-o", text(&made), "--", "sh", "-c", "ls -lR /etc"];
    let output = vmeter(&args).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    for trap in traps(place.path()) {
        for args in [
            &["report", text(&trap)][..],
            &["import", text(&trap), "-o", "/nonexistent/new"],
            &["cpu", "--from", text(&trap)],
            &["study", "check", text(&trap)],
        ] {
            let (output, _) = watched(vmeter(args));
            assert!(!output.status.success(), "{args:?}");
        }
        // In the place of each file of a recording; one stream stands for all.
        for entry in fs::read_dir(&made).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with("stream-") && !name.starts_with("stream-0.") {
                continue;
            }
            let copy = place.path().join("copy");
            let copied = Command::new("cp").arg("-r").args([&made, &copy]).status().unwrap();
            assert!(copied.success());
            fs::remove_file(copy.join(entry.file_name())).unwrap();
            fs::rename(&trap, copy.join(entry.file_name())).unwrap();
            watched(vmeter(&["report", text(&copy)]));
            fs::rename(copy.join(entry.file_name()), &trap).unwrap();
            fs::remove_dir_all(&copy).unwrap();
        }
    }
}

#[test]
fn attack_by_a_recordings_head_reads_no_other_file() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("rec");
    let args = ["record", "-e", "cpu-clock:1M", "-o", text(&dir), "--", "true"];
    let output = vmeter(&args).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let head = dir.join("recording.json");
    let whole: serde_json::Value = serde_json::from_slice(&fs::read(&head).unwrap()).unwrap();
    for path in ["/proc/kmsg", "../../pipe", "/dev/zero"] {
        let mut changed = whole.clone();
        changed["streams"][0]["stream"]["kallsyms"] = serde_json::json!({ "Ok": path });
        fs::write(&head, changed.to_string()).unwrap();
        let (output, _) = watched(vmeter(&["report", text(&dir)]));
        assert!(!output.status.success());
        assert!(
            said(&output).contains("outside of the recording's directory"),
            "{}",
            said(&output)
        );
    }
}

/// Leaves no room on a disk; a file that was there stays as it was.
fn full(at: &Path) -> Disk {
    let disk = Disk::new(at, 1);
    fs::write(disk.0.join("moments"), "before").unwrap();
    disk.fill();
    disk
}

#[test]
fn attack_by_a_full_disk_loses_neither_the_report_nor_the_status() {
    let place = tempfile::tempdir().unwrap();
    let disk = full(&place.path().join("disk"));
    let file = disk.0.join("moments");
    let devices = ["/dev/full", text(&file)];
    for to in devices {
        for option in ["--save", "-o"] {
            let command = ["sh", "-c", "echo out; exit 7"];
            let mut args = vec!["cpu", option, to, "--"];
            args.extend(command);
            let (output, _) = watched(vmeter(&args));
            assert_eq!(output.status.code(), Some(7), "{args:?}");
            assert_eq!(output.stdout, b"out\n");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("B_IDD"), "the report: {said}");
            assert!(said.contains("No space left on device"), "{said}");
        }
    }
    assert_eq!(fs::read(&file).unwrap(), b"before");
    // Without a command, the report comes too, and the status says that it was not kept.
    let (output, _) =
        watched(vmeter(&["cpu", "--from", text(&saved(place.path())), "-o", "/dev/full"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("B_IDD"));
}

/// Two moments in a file.
fn saved(at: &Path) -> PathBuf {
    let path = at.join("saved");
    let output = vmeter(&["cpu", "--save", text(&path), "--", "true"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    path
}

#[test]
fn attack_by_a_full_disk_does_not_end_what_is_recorded() {
    let place = tempfile::tempdir().unwrap();
    // Full at the start, and while it records.
    for megabytes in [0, 2] {
        let disk = match megabytes {
            0 => full(&place.path().join("full")),
            size => Disk::new(&place.path().join("small"), size),
        };
        let ended = place.path().join(format!("ended-{megabytes}"));
        let work = format!(
            "i=0; while [ $i -lt 3000000 ]; do i=$((i+1)); done; touch {}; exit 7",
            ended.display()
        );
        let dir = disk.0.join("rec");
        let args =
            ["record", "-e", "cpu-clock:20k", "-o", text(&dir), "--", "sh", "-c", work.as_str()];
        let (output, _) = watched(vmeter(&args));
        assert!(ended.exists(), "it went on to its end");
        assert_eq!(output.status.code(), Some(7));
        assert!(said(&output).contains("No space left on device"), "{}", said(&output));
    }
}
