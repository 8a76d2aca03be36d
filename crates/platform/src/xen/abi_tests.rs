use super::*;
use proptest::prelude::*;

/// 100,000 cases: a hostile or broken hypervisor must not bring vmeter down.
fn many() -> ProptestConfig {
    ProptestConfig { cases: 100_000, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn every_known_release_has_its_interface() {
    let row = |minor| Release { major: 4, minor }.interface();
    assert_eq!(row(13), Interface { sysctl: 0x12, domctl: 0x12 });
    assert_eq!(row(17), Interface { sysctl: 0x15, domctl: 0x15 });
    assert_eq!(row(20), Interface { sysctl: 0x15, domctl: 0x17 });
    assert_eq!(row(22), Interface { sysctl: 0x16, domctl: 0x18 });
    // Unknown ones start from the nearest.
    assert_eq!(row(31), row(22));
    assert_eq!(Release { major: 5, minor: 0 }.interface(), row(22));
    assert_eq!(Release { major: 4, minor: 2 }.interface(), row(13));
    assert!(!Release { major: 4, minor: 23 }.is_known());
}

#[test]
fn the_states_follow_the_flags() {
    let state = |flags: u32| {
        let mut entry = [0; 112];
        entry[4..8].copy_from_slice(&flags.to_le_bytes());
        DomainInfo::decode(&entry).map(|domain| domain.state())
    };
    use model::State::*;
    assert_eq!(state(1 << 4), Some(Blocked));
    assert_eq!(state(1 << 5), Some(Running));
    assert_eq!(state(0), Some(Running), "ready to run, and none of its vCPUs on a CPU");
    assert_eq!(state(1 << 3 | 1 << 4), Some(Paused));
    assert_eq!(state(1 << 2), Some(Shutdown));
    assert_eq!(state(1 << 2 | 3 << 16), Some(Crashed));
    assert_eq!(state(3 << 16), Some(Running), "a reason means nothing before the shutdown");
    assert_eq!(state(1 << 0 | 1 << 2 | 3 << 16), Some(Dying));
}

#[test]
fn an_unlimited_domain_has_no_limit() {
    let limit = |pages: u64| {
        let mut entry = [0; 112];
        entry[16..24].copy_from_slice(&pages.to_le_bytes());
        DomainInfo::decode(&entry).and_then(|domain| domain.page_limit())
    };
    assert_eq!(limit(32768), Some(32768));
    assert_eq!(limit(u64::from(u32::MAX)), None);
    assert_eq!(limit(u64::MAX), None);
}

#[test]
fn a_list_out_of_order_is_a_wrong_layout() {
    let mut head = [0; 24];
    head[16] = 2;
    let mut data = [0; 224];
    data[112] = 1;
    let mut list = Vec::new();
    assert_eq!(domains(&head, &data, 112, &mut list), Ok(2));
    assert_eq!(list[1].id, 1);
    list.clear();
    assert!(domains(&head, &data, 104, &mut list).is_err(), "two entries with number 0");
    head[16] = 3;
    list.clear();
    assert!(domains(&head, &data, 112, &mut list).is_err(), "more than the buffer holds");
}

#[test]
fn a_bitmap_reads_as_linux_writes_it() {
    assert_eq!(cpu_list(&[0b0000_1111, 0], 63), "0-3");
    assert_eq!(cpu_list(&[0b0000_1111, 1], 63), "0-3,8");
    assert_eq!(cpu_list(&[0xff, 0xff], 3), "0-3");
    assert_eq!(cpu_list(&[0, 0], 3), "");
    assert_eq!(cpu_list(&[0xff], u32::MAX), "0-7");
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn no_bytes_make_a_decoder_panic(
        head in proptest::collection::vec(any::<u8>(), 0..160),
        data in proptest::collection::vec(any::<u8>(), 0..600),
        count in 0_u32..9,
        stride in 0_usize..130,
        plausible: bool,
    ) {
        let mut head = head;
        if let (true, Some(field)) = (plausible, head.get_mut(16..20)) {
            field.copy_from_slice(&count.to_le_bytes());
        }
        let mut list = Vec::new();
        if domains(&head, &data, stride, &mut list).is_ok() {
            for domain in &list {
                let _ = (domain.state(), domain.vcpus(), domain.page_limit());
            }
        }
        let _ = idle(&head, &data);
        let _ = Physical::decode(&head, 0x14);
        let _ = Physical::decode(&head, 0x15);
        let _ = VcpuInfo::decode(&head);
        let _ = DomainInfo::decode(&data);
        let _ = cpu_list(&data, count * 100);
    }
}
