use super::*;
use crate::in_memory;
use crate::profile_tests::*;
use crate::symbols::{Binary, Images, Reason};
use crate::table::Column;
use crate::{Options, Records};
use flate2::read::GzDecoder;
use model::{BuildId, Mode, Record, Role, Stream, What};
use prost::Message;
use serde_json::Value;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A guest's kernel has symbols; nothing else has.
struct KernelOnly;

impl Images for KernelOnly {
    fn open(&mut self, _: usize, _: &[u8], _: Option<&BuildId>) -> Result<Binary, Reason> {
        Err(Reason::Gone)
    }

    fn kallsyms(&mut self, stream: usize) -> Result<Arc<[u8]>, Reason> {
        let text = "ffffffff81000000 T tcp_recvmsg\nffffffff81000100 t poll\t[virtio_net]\n";
        if stream == 1 { Ok(text.as_bytes().into()) } else { Err(Reason::Hidden) }
    }
}

const BAD: &str = "=a;b,\"\u{1b}[2J\u{202e}<x>";

fn streams() -> (Vec<Stream>, Vec<Records<'static>>) {
    let mut host = stream("host", Role::Host, vec![ticks()]);
    host.serving = vec![serving(51, "web1", model::Part::Vcpu(0))];
    let web1 = Stream { clock: clock(0, 10), ..stream("web1", Role::NamesOnly, vec![]) };
    let records = vec![
        named(9, BAD),
        mapped(9, 0x20_0000, "/bin/bash"),
        sample(1_000, (9, 9), Mode::User, 0x20_0020),
        sample(2_000, (50, 51), Mode::GuestKernel, 0xffff_ffff_8100_0004),
        sample(3_000, (50, 51), Mode::GuestKernel, 0xffff_ffff_8100_0008),
        sample(4_000, (50, 51), Mode::GuestKernel, 0xffff_ffff_8100_0104),
        sample(5_000, (50, 51), Mode::GuestUser, 0x40_0010),
        sample(6_000, (0, 0), Mode::Kernel, 0xffff_ffff_8200_0000),
    ];
    let guest = vec![
        named(7, "httpd"),
        mapped(7, 0x40_0000, "/usr/sbin/httpd"),
        switched(100, 0, 7),
        Record { cpu: 2, ..at(200, What::Lost { count: 5 }) },
    ];
    (vec![host, web1], vec![in_memory(records), in_memory(guest)])
}

fn with<T>(test: impl FnOnce(&Named<'_>, &Symbols) -> T) -> T {
    let (streams, records) = streams();
    let profile = Profile::read(&streams, records, Options::default());
    let symbols = Symbols::find(&profile, &mut KernelOnly);
    test(&Named::new(&profile, &symbols), &symbols)
}

fn written(write: impl FnOnce(&Named<'_>, &Symbols, &mut Vec<u8>)) -> Vec<u8> {
    with(|named, symbols| {
        let mut to = Vec::new();
        write(named, symbols, &mut to);
        to
    })
}

fn text(write: impl FnOnce(&Named<'_>, &Symbols, &mut Vec<u8>)) -> String {
    let text = String::from_utf8(written(write)).unwrap();
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "drives a terminal: {text}");
    text
}

/// Counters that say a microsecond of web1 and of a VM named `host`, and nothing of the host.
fn counters() -> crate::summary::Counters {
    let vms = ["web1", "host"].map(|name| (name.to_owned(), Ok(model::Nanos(1_000))));
    crate::summary::Counters { host: None, vms: vms.into() }
}

fn choice() -> Choice {
    Choice::default()
}

#[test]
fn folded_stacks_begin_with_the_vm() {
    let text = text(|named, _, to| folded(named, &choice(), 0, to).unwrap());
    let expected = "\
host;host user;=a:b,\"\\u{1b}[2J\\u{202e}<x>;bash;bash+0x420 1
web1;guest kernel;httpd;[guest kernel];tcp_recvmsg 2
web1;guest kernel;httpd;[virtio_net];poll 1
web1;guest user;httpd;httpd;httpd+0x410 1
";
    assert_eq!(text, expected);
}

#[test]
fn csv_is_quoted_and_calculates_nothing() {
    let by = vec![Column::Vm, Column::Process, Column::Symbol];
    let text = text(|named, _, to| csv(named, &Choice { by, ..choice() }, to).unwrap());
    let expected = "event,samples,percent,events,vm,process,symbol\r
cpu-clock,2,40.0000,2000,web1,httpd,tcp_recvmsg\r
cpu-clock,1,20.0000,1000,host,\"'=a;b,\"\"\\u{1b}[2J\\u{202e}<x>\",bash+0x420\r
cpu-clock,1,20.0000,1000,web1,httpd,httpd+0x410\r
cpu-clock,1,20.0000,1000,web1,httpd,poll\r
";
    assert_eq!(text, expected);
}

#[test]
fn json_has_every_row_and_says_why_something_is_absent() {
    let text = text(|named, _, to| json(named, &choice(), None, &counters(), to).unwrap());
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["schema"], SCHEMA);
    assert_eq!(json["events"][0]["unit"], "ns");
    let rows = json["rows"].as_array().unwrap();
    let find = |symbol: &str| rows.iter().find(|row| row["symbol"] == symbol).unwrap();
    let kernel = find("tcp_recvmsg");
    assert_eq!((&kernel["samples"], &kernel["layer"]), (&2.into(), &"guest-kernel".into()));
    assert_eq!((&kernel["address"], &kernel["absent"]), (&Value::Null, &Value::Null));
    assert_eq!(find("poll")["image"], "[virtio_net]");
    let bash = rows.iter().find(|row| row["image"] == "/bin/bash").unwrap();
    assert_eq!((&bash["symbol"], &bash["address"]), (&Value::Null, &"0x420".into()));
    assert_eq!(bash["absent"]["symbol"], "file deleted");
    assert_eq!(rows.iter().filter(|row| row["idle"] == true).count(), 1);
    let web1 = json["vms"].as_array().unwrap().iter().find(|vm| vm["vm"] == "web1").unwrap();
    assert_eq!((&web1["busy_s"], &web1["layers"]["guest-kernel"]), (&4e-6.into(), &3.into()));
    assert_eq!(web1["counters_s"], 1e-6);
    let host = json["vms"].as_array().unwrap().iter().find(|vm| vm["vm"] == "host").unwrap();
    assert_eq!(host["counters_s"], Value::Null);
    assert!(host["absent"]["counters_s"].as_str().unwrap().contains("no counters"));
    let stream = &json["streams"][1];
    assert_eq!((&stream["lost"]["2"], &stream["clock_bound_s"]), (&5.into(), &1e-8.into()));
}

#[test]
fn a_flame_graph_is_the_same_each_time_and_escaped() {
    let draw = || text(|named, _, to| flame_graph(named, &choice(), 0, to).unwrap());
    let svg = draw();
    assert_eq!(svg, draw());
    assert!(svg.contains("tcp_recvmsg") && svg.contains("<svg") && !svg.contains("<x>"));
    let nothing = Choice { vms: vec!["none".into()], ..choice() };
    assert!(with(|named, _| flame_graph(named, &nothing, 0, &mut Vec::new())).is_err());
}

#[test]
fn pprof_refers_only_to_what_is_there() {
    let bytes = written(|named, _, to| pprof(named, &choice(), 0, to).unwrap());
    let mut raw = Vec::new();
    GzDecoder::new(&bytes[..]).read_to_end(&mut raw).unwrap();
    let profile = pprof::Profile::decode(&raw[..]).unwrap();
    let word = |at: i64| profile.string_table[at as usize].as_str();
    assert_eq!(word(0), "");
    let types: Vec<_> =
        profile.sample_type.iter().map(|t| (word(t.r#type), word(t.unit))).collect();
    assert_eq!(types, [("samples", "count"), ("cpu-clock", "nanoseconds")]);
    let mut lines = Vec::new();
    for sample in &profile.sample {
        let frames = sample.location_id.iter().map(|id| {
            let location = profile.location.iter().find(|l| l.id == *id).unwrap();
            let mapping = profile.mapping.iter().find(|m| m.id == location.mapping_id);
            let function = location.line.first().map(|line| {
                let function = profile.function.iter().find(|f| f.id == line.function_id).unwrap();
                word(function.name).to_owned()
            });
            let unnamed = || format!("{}+{:#x}", word(mapping.unwrap().filename), location.address);
            function.unwrap_or_else(unnamed)
        });
        let frames: Vec<_> = frames.collect();
        assert_eq!(sample.label.len(), 4);
        lines.push(format!("{} {}", frames.join(" < "), sample.value[0]));
    }
    lines.sort();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[1], "/usr/sbin/httpd+0x410 < httpd < guest user < web1 1");
    assert_eq!(lines[3], "tcp_recvmsg < httpd < guest kernel < web1 2");
}

#[test]
fn a_second_pass_writes_samples_as_perf_script_does() {
    let text = text(|named, symbols, to| {
        let mut script = Script::new(named.profile, symbols, to);
        let (streams, records) = streams();
        let mut write = |placed: &Placed| script.sample(placed).unwrap();
        Profile::replay(&streams, records, &mut write);
    });
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(
        lines[1],
        "web1:httpd     7 [000] 0.000002:       1000 cpu-clock: ffffffff81000004 tcp_recvmsg ([guest kernel])"
    );
    assert!(lines[4].ends_with("400010 [unknown] (/usr/sbin/httpd)"), "{}", lines[4]);
}

#[test]
fn the_firefox_profiler_gets_a_track_for_each_thread() {
    let text = text(|named, symbols, to| {
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut firefox = Firefox::new(named.profile, symbols, 0, began);
        let (streams, records) = streams();
        Profile::replay(&streams, records, &mut |placed| firefox.sample(placed));
        firefox.finish(to).unwrap();
    });
    let json: Value = serde_json::from_str(&text).unwrap();
    let threads = json["threads"].as_array().unwrap();
    let of = |process: &str| threads.iter().find(|t| t["processName"] == process).unwrap();
    let httpd = of("web1: httpd");
    assert_eq!(httpd["samples"]["length"], 4);
    assert_eq!(threads.len(), 2, "idle time has no track");
    let categories = json["meta"]["categories"].as_array().unwrap();
    assert!(categories.iter().any(|category| category["name"] == "guest kernel"));
}
