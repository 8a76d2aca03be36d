use super::*;
use hostile::survives;
use std::path::Path;

/// A saved tree with these files.
fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        put(folder.path(), path, text);
    }
    let tree = Tree::open(folder.path()).unwrap();
    (folder, tree)
}

fn put(folder: &Path, path: &str, text: &str) {
    let to = folder.join(path);
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::write(to, text).unwrap();
}

const DEV: &str = "Inter-| Receive\n face |bytes\n\
    vif1.0: 10 1 0 0 0 0 0 0 20 2 0 0 0 0 0 0\n\
    web: 30 3 0 0 0 0 0 0 40 4 0 0 0 0 0 0\n\
    vif1.0-emu: 50 5 0 0 0 0 0 0 60 6 0 0 0 0 0 0\n\
    vif3.0: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n\
    vif3.0-emu: 70 7 0 0 0 0 0 0 80 8 0 0 0 0 0 0\n\
    eth0: 90 9 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n";

#[test]
fn interfaces_belong_to_whom_their_device_names() {
    let (_folder, tree) = tree(&[
        ("proc/net/dev", DEV),
        ("sys/class/net/vif1.0/device/nodename", "backend/vif/1/0\n"),
        ("sys/class/net/web/device/nodename", "backend/vif/2/0\n"),
    ]);
    let mut devices = Devices::default();
    devices.refresh(&tree, false);
    let nics = devices.nics(&Names::default()).unwrap();
    let rows = |id: u16| -> Vec<(&str, u64)> {
        let rx = |nic: &Nic| nic.counters.as_ref().map_or(0, |counters| counters.rx_packets.0);
        nics.get(&id).into_iter().flatten().map(|nic| (nic.name.as_str(), rx(nic))).collect()
    };
    assert_eq!(rows(1), [("vif1.0", 2)], "the emulated card beside a used vif does not count");
    assert_eq!(rows(2), [("web", 4)], "renamed");
    assert_eq!(rows(3), [("vif3.0", 0), ("vif3.0-emu", 8)], "a guest without a driver");
    assert_eq!(nics.len(), 3);
    assert_eq!(devices.domain_of("web"), Some(2));
}

#[test]
fn disks_have_the_kernels_counters_or_none() {
    let disk = "sys/bus/xen-backend/devices/vbd-1-51712";
    let (folder, tree) = tree(&[
        ("proc/net/dev", DEV),
        (&format!("{disk}/statistics/rd_req"), "36\n"),
        (&format!("{disk}/statistics/wr_req"), "16\n"),
        (&format!("{disk}/statistics/rd_sect"), "8472\n"),
        (&format!("{disk}/statistics/wr_sect"), "4096\n"),
        ("sys/bus/xen-backend/devices/qdisk-2-51712/nodename", "backend/qdisk/2/51712\n"),
        ("sys/bus/xen-backend/devices/console-1-0/nodename", "backend/console/1/0\n"),
    ]);
    let mut devices = Devices::default();
    devices.refresh(&tree, false);
    let disks = devices.disks(&tree, &Names::default()).unwrap();
    let counters = &disks[&1][0].counters;
    assert_eq!((disks[&1].len(), &*disks[&1][0].name), (1, "vbd-1-51712"));
    assert_eq!((&counters.reads, &counters.writes), (&Ok(Operations(36)), &Ok(Operations(16))));
    assert_eq!(counters.read_bytes, Ok(Bytes(8472 * 512)));
    assert_eq!(counters.write_bytes, Ok(Bytes(4096 * 512)));
    assert!(matches!(disks[&2][0].counters.reads, Err(Absent::NotProvided(_))));
    std::fs::remove_dir_all(folder.path().join(disk).join("statistics")).unwrap();
    let disks = devices.disks(&tree, &Names::default()).unwrap();
    assert!(matches!(disks[&1][0].counters.reads, Err(Absent::NotFound(_))), "it went away");
}

#[test]
fn devices_of_another_driver_domain_have_no_counters_here() {
    let (_folder, tree) = tree(&[("proc/net/dev", DEV)]);
    let mut devices = Devices::default();
    devices.refresh(&tree, false);
    let elsewhere =
        |kind: &str| Elsewhere { domain: 7, driver: 2, kind: kind.into(), device: "0".into() };
    let mut names = Names::default();
    names.elsewhere = vec![elsewhere("vif"), elsewhere("vbd")];
    let nic = devices.nics(&names).unwrap()[&7][0].clone();
    assert_eq!((nic.name.as_str(), nic.driver), ("vif7.0", 2));
    assert!(matches!(nic.counters, Err(Absent::NotProvided(_))));
    assert_eq!(devices.disks(&tree, &names).unwrap()[&7][0].driver, 2);
}

#[test]
fn a_reused_name_is_looked_at_again() {
    let node = "sys/class/net/web/device/nodename";
    let (folder, tree) = tree(&[("proc/net/dev", DEV), (node, "backend/vif/2/0\n")]);
    let mut devices = Devices::default();
    devices.refresh(&tree, false);
    put(folder.path(), node, "backend/vif/5/0\n");
    devices.refresh(&tree, true);
    assert_eq!(devices.domain_of("web"), Some(5));
    std::fs::remove_file(folder.path().join("proc/net/dev")).unwrap();
    devices.refresh(&tree, true);
    assert!(devices.nics(&Names::default()).is_err());
}

#[test]
fn hostile_input() {
    for sample in ["backend/vif/12/0", "vbd-1-51712", "vif1.0-emu"] {
        survives(sample.as_bytes(), |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let _ = (parse_nodename(&text), parse_disk(&text), parse_vif(&text));
        });
    }
}
