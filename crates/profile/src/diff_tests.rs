use super::*;
use crate::in_memory;
use crate::profile_tests::*;
use crate::symbols::Symbols;
use crate::{Options, Profile};
use model::{Mode, Role};

fn profile(role: Role, kernel: u64, user: u64, nanos: u64) -> Profile {
    let name = if role == Role::Host { "host" } else { "web1" };
    let stream = stream(name, role, vec![cycles()]);
    let mut records = vec![named(7, "httpd"), mapped(7, 0x1000, "/bin/httpd")];
    let count = kernel + user;
    for n in 0..count {
        let time = n * nanos / (count - 1);
        let (mode, address) = if n < kernel { (Mode::Kernel, 0x10) } else { (Mode::User, 0x1000) };
        records.push(sample(time, (7, 7), mode, address));
    }
    Profile::read(&[stream], vec![in_memory(records)], Options::default())
}

#[test]
fn native_against_vm_by_image() {
    let (native, vm) = (
        profile(Role::Host, 20, 80, 1_000_000_000),
        profile(Role::SamplesItself, 150, 150, 2_000_000_000),
    );
    let symbols = Symbols::default();
    let (a, b) = (Named::new(&native, &symbols), Named::new(&vm, &symbols));
    let choice = Choice { by: vec![Column::Layer, Column::Image], ..Choice::default() };
    let diffs = diff(&a, &b, &choice);
    assert_eq!((diffs.len(), diffs[0].changes.len()), (1, 2));
    let [kernel, user] = &diffs[0].changes[..] else { panic!() };
    assert_eq!(kernel.cells, ["kernel", "[kernel]"], "the largest change of rates");
    assert_eq!((kernel.a.percent, kernel.b.percent, kernel.percent()), (20.0, 50.0, 30.0));
    assert_eq!((kernel.a.rate, kernel.b.rate), (Some(20_000.0), Some(75_000.0)));
    assert_eq!((user.rate(), user.percent()), (Some(-5000.0), -30.0));
    let mut text = Vec::new();
    diffs[0].write(1, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("20.0000    50.0000   +30.0000") && text.lines().count() == 3, "{text}");
}

#[test]
fn without_a_duration_the_percentages_are_compared() {
    let one = profile(Role::Host, 1, 1, 0);
    let named = Named::new(&one, &Symbols::default());
    let diffs = diff(&named, &named, &Choice::default());
    assert!(diffs[0].changes.iter().all(|c| c.rate().is_none() && c.percent() == 0.0));
}
