use super::*;

const GOOD: &str = r#"schema = "vmeter.plan/1"
id = "test"
title = "A test"
repetitions = 2

[[machines]]
name = "native"
lab = { kind = "native" }

[[machines]]
name = "xen"
lab = { kind = "xen", guests = 2 }
set = [{ kind = "pin", vm = "g1", cpus = "2" }]

[[machines.configurations]]
name = "one"
set = [{ kind = "irq", matching = "eth1", cpus = "0" }]

[[machines.configurations]]
name = "two"

[[workloads]]
name = "receive"
kind = "tcp"
size = ["500 B", "1448 B"]
rate = ["100/s", "1 k/s"]
window = "2 s"

[[figures]]
id = "fig-6.1"
"#;

fn refused(from: &str, to: &str) -> (usize, String) {
    assert!(GOOD.contains(from), "{from}");
    let error = Plan::parse(&GOOD.replacen(from, to, 1), "test.toml").unwrap_err();
    assert_eq!(error.file, "test.toml");
    (error.line, error.problem)
}

#[test]
fn a_plan_is_what_it_says() {
    let plan = Plan::parse(GOOD, "test.toml").unwrap();
    assert_eq!(plan.workloads[0].points.len(), 4);
    assert_eq!(plan.workloads[0].points[1], Load::Tcp { size: 500, rate: 1000.0 });
    assert_eq!(plan.workloads[0].window, Duration::from_secs(2));
    let names: Vec<&str> =
        plan.machines[1].configurations.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(plan.machines[1].configurations[0].set.len(), 2, "what is always set comes first");
    // Two blocks of four points on native and on duplicate configuration of xen.
    assert_eq!(crate::schedule::schedule(&plan).len(), 2 * 4 * 3);
}

#[test]
fn what_cannot_be_is_refused_with_its_line_and_the_remedy() {
    for (from, to, line, part) in [
        ("vmeter.plan/1", "vmeter.plan/9", 1, "vmeter.plan/1"),
        ("title =", "titel =", 3, "unknown field `titel`"),
        ("repetitions = 2", "repetitions = 0", 4, "1 to 1000"),
        ("kind = \"native\"", "kind = \"vmware\"", 8, "native, xen or kvm"),
        ("kind = \"tcp\"", "kind = \"udp\"", 24, "tcp, web, cpu or fileset"),
        ("\"500 B\"", "\"500 bits\"", 25, "invalid unit `bits`: expected B, KB"),
        ("\"500 B\"", "500", 25, "missing unit"),
        ("\"500 B\"", "\"1 B\"", 22, "choose a size from 76"),
        ("window = \"2 s\"", "window = \"2 days\"", 27, "ms, s, min or h"),
        ("window = \"2 s\"", "place = \"same-guest\"", 27, "not supported"),
        ("window = \"2 s\"", "server = \"nginx\"", 27, "not supported"),
        ("window = \"2 s\"", "targets = 3", 22, "needs 3 targets"),
        ("id = \"fig-6.1\"", "id = \"fig-9.9\"", 30, "invalid figure"),
        ("id = \"fig-6.1\"", "id = \"fig-6.3\"", 29, "does not support"),
        ("id = \"fig-6.1\"", "id = \"fig-6.1\"\nworkload = \"x\"", 31, "workload `x` not found"),
        ("name = \"xen\"", "name = \"native\"", 6, "duplicate machine"),
        ("name = \"two\"", "name = \"one\"", 6, "duplicate configuration"),
        ("kind = \"irq\"", "kind = \"irk\"", 0, "irk"),
        ("repetitions = 2", "[lab]\nclock = \"sun\"", 5, "instructions or host"),
    ] {
        let (found, problem) = refused(from, to);
        assert!(problem.contains(part), "{to}: {problem}");
        assert!(line == 0 || found == line, "{to}: line {found}, not {line}: {problem}");
    }
    let needs = GOOD.replacen("name = \"native\"\n", "name = \"native\"\nneeds-cpus = 9\n", 1);
    assert!(Plan::parse(&needs, "x").unwrap_err().problem.contains("needs 9 CPUs"));
    assert!(Plan::parse("", "x").is_err() && Plan::parse("\0", "x").is_err());
}

#[test]
fn a_web_load_names_its_server() {
    let web = |server: &str| {
        let text = GOOD
            .replace("kind = \"tcp\"", "kind = \"web\"")
            .replace("size = [\"500 B\", \"1448 B\"]", server)
            .replace("fig-6.1", "fig-6.2");
        Plan::parse(&text, "x").map(|plan| plan.workloads[0].points[0].clone())
    };
    for (text, name) in
        [("", "vmeter"), ("server = \"nginx\"", "nginx"), ("server = \"apache\"", "apache")]
    {
        let load = web(text).unwrap();
        assert_eq!(load.describe(), format!("web by {name}, 100 connections/s"));
        // As it is stored; before there was a choice nothing was said.
        let mut stored = serde_json::to_value(&load).unwrap();
        assert_eq!(stored["server"], name);
        assert_eq!(serde_json::from_value::<Load>(stored.clone()).unwrap(), load);
        stored.as_object_mut().unwrap().remove("server");
        let old = serde_json::from_value::<Load>(stored).unwrap();
        assert!(old.describe().starts_with("web by vmeter"));
    }
    let error = web("server = \"iis\"").unwrap_err();
    assert_eq!(error.line, 25);
    assert!(error.problem.contains("vmeter, nginx or apache"), "{error}");
}

#[test]
fn real_machines_are_named_by_their_agents() {
    let text = r#"schema = "vmeter.plan/1"
id = "real"
title = "Two machines"
[[machines]]
name = "server"
agents = { host = "10.0.0.1:5203", client = "10.0.0.2:5203", addresses = ["10.1.0.1"] }
[[workloads]]
name = "receive"
kind = "tcp"
rate = "1000/s"
[[figures]]
id = "fig-6.5"
"#;
    let plan = Plan::parse(text, "x").unwrap();
    assert!(plan.machines[0].place.is_native() && !plan.needs_lab());
    let taken = text.replace(
        "addresses = [\"10.1.0.1\"]",
        "guests = [{ name = \"host\", agent = \"10.0.0.3:1\", address = \"10.1.0.3\" }]",
    );
    assert!(Plan::parse(&taken, "x").unwrap_err().problem.contains("reserved name `host`"));
    let nowhere = text.replace(", addresses = [\"10.1.0.1\"]", "");
    assert!(Plan::parse(&nowhere, "x").unwrap_err().problem.contains("needs a target"));
    let guests = |name: &str| {
        let guest =
            format!("{{ name = \"{name}\", agent = \"10.1.0.9:5203\", address = \"10.1.0.9\" }}");
        text.replace("addresses = [\"10.1.0.1\"]", &format!("guests = [{guest}]"))
    };
    assert!(Plan::parse(&guests("web1"), "x").is_ok());
    assert!(
        Plan::parse(&guests("host"), "x").unwrap_err().problem.contains("reserved name `host`")
    );
}

#[test]
fn a_native_machine_runs_programs_once_for_one_guest_and_several() {
    let text = GOOD
        .replace("kind = \"tcp\"", "kind = \"cpu\"")
        .replace("size = [\"500 B\", \"1448 B\"]", "instances = [1, 2]")
        .replace("rate = [\"100/s\", \"1 k/s\"]", "place = [\"same-guest\", \"different-guests\"]")
        .replace("fig-6.1", "fig-6.10");
    let plan = Plan::parse(&text, "x").unwrap();
    // Native: 2 points; xen: 4 points in each of duplicate configuration; two blocks.
    assert_eq!(crate::schedule::schedule(&plan).len(), 2 * (2 + 8));
    let many = text.replace("instances = [1, 2]", "instances = 3");
    assert!(Plan::parse(&many, "x").unwrap_err().problem.contains("has 2"));
}

/// Two machines of one's own, neither of them with guests.
fn two_machines(more: &str) -> String {
    let machine = |name: &str, at: &str| {
        format!(
            "[[machines]]\nname = \"{name}\"\nagents = {{ host = \"{at}:5203\", client = \
             \"10.0.0.9:5203\", addresses = [\"10.1.0.1\"] }}\n"
        )
    };
    format!(
        "schema = \"vmeter.plan/1\"\nid = \"two\"\ntitle = \"Two machines\"\n{more}\n{}{}\
         [[workloads]]\nname = \"receive\"\nkind = \"tcp\"\nrate = \"1000/s\"\n\
         [[figures]]\nid = \"ratio\"\n",
        machine("alpha", "10.0.0.1"),
        machine("beta", "10.0.0.2")
    )
}

#[test]
fn any_machine_can_be_the_baseline() {
    let plan = Plan::parse(&two_machines("baseline = \"alpha\""), "x").unwrap();
    assert_eq!((plan.baseline(0), plan.baseline(1)), (None, Some(0)));
    let plan = Plan::parse(&two_machines("baseline = \"beta\""), "x").unwrap();
    assert_eq!((plan.baseline(0), plan.baseline(1)), (Some(1), None));
    let error = Plan::parse(&two_machines(""), "x").unwrap_err();
    assert_eq!(error.line, 15);
    assert!(error.problem.contains("or name any machine to compare with: `baseline = "), "{error}");
    let error = Plan::parse(&two_machines("baseline = \"gamma\""), "x").unwrap_err();
    assert_eq!(error.line, 4);
    assert_eq!(error.problem, "invalid baseline `gamma`: expected one of alpha, beta");
    // A machine of another clock has its own.
    let quick = crate::PLANS[0].text;
    let named = quick.replacen("seed = 1", "seed = 1\nbaseline = \"xen\"", 1);
    let plan = Plan::parse(&named, "quick").unwrap();
    let baselines: Vec<Option<usize>> = (0..4).map(|at| plan.baseline(at)).collect();
    assert_eq!(baselines, [Some(1), None, None, Some(2)]);
}

#[test]
fn an_agents_address_has_a_port() {
    let at = |address: &str| {
        let text = two_machines("baseline = \"alpha\"").replacen("10.0.0.1:5203", address, 1);
        Plan::parse(&text, "x").map_err(|error| error.problem)
    };
    for good in [
        "server.example:5203",
        "[fe80::1%25eth0]:5203",
        "[::1]:1",
        "vsock:3:5203",
        "/run/a.sock",
        "serial:/dev/x",
    ] {
        assert!(at(good).is_ok(), "{good}: {:?}", at(good));
    }
    for (bad, part) in [
        ("10.0.0.1", "machine `alpha`, host: missing port in `10.0.0.1`: expected HOST:PORT"),
        ("10.0.0.1:0", "expected 1 to 65535"),
        ("10.0.0.1:65536", "expected 1 to 65535"),
        ("10.0.0.1:ssh", "expected 1 to 65535"),
        (":5203", "missing port"),
        ("fe80::1:5203", "with brackets"),
        ("vsock:3", "vsock:CID:PORT"),
        ("", "missing port"),
    ] {
        let problem = at(bad).unwrap_err();
        assert!(problem.contains(part), "{bad}: {problem}");
    }
}

#[test]
fn no_text_of_a_plan_makes_it_panic() {
    let mut random = hostile::Random::new(1);
    let (mut valid, mut invalid) = (0_u64, 0_u64);
    for _ in 0..hostile::cases(3000) {
        let mut text = GOOD.as_bytes().to_vec();
        random.mutate(&mut text);
        match Plan::parse(&String::from_utf8_lossy(&text), "test.toml") {
            Ok(_) => valid += 1,
            Err(_) => invalid += 1,
        }
    }
    assert!(valid > 0 && invalid > 0, "{valid} {invalid}");
}
