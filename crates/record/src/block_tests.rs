//! Blocks: nothing of a record is lost, nothing of a hostile block is believed.

use super::*;
use crate::testing::records;
use hostile::Random;
use proptest::prelude::*;

fn pack(records: &[Record]) -> Vec<u8> {
    let mut builder = Builder::default();
    records.iter().for_each(|record| builder.push(record));
    let packed = builder.finish();
    assert!(builder.is_empty());
    packed
}

proptest! {
    #[test]
    fn records_come_back(records in records(60)) {
        let block = Block::open(&pack(&records)).unwrap();
        let back: Vec<Record> = block.map(Result::unwrap).collect();
        prop_assert_eq!(back, records);
    }
}

/// Samples of a busy machine: `cpu-clock`, a hundred hot addresses, some threads.
fn busy(count: u64) -> Vec<Record> {
    let mut random = Random::new(7);
    let sample = |index: u64, random: &mut Random| {
        let hot = random.number() % 100;
        let what = What::Sample(Sample {
            event: 0,
            pid: 1000,
            tid: 1000 + (hot % 5) as u32,
            address: 0x55d0_0000_0000 + hot * 37,
            mode: Mode::User,
            period: 1_000_000,
        });
        let time = Nanos(index / 2 * 1_000_000 + random.number() % 3000);
        Record { time, cpu: (index % 2) as u32, what }
    };
    (0..count).map(|index| sample(index, &mut random)).collect()
}

#[test]
fn a_sample_of_a_busy_machine_takes_few_bytes() {
    let packed = pack(&busy(10_000));
    assert!(packed.len() < 60_000, "{}", packed.len());
}

#[test]
fn a_block_is_full_by_records_or_by_names() {
    let mut builder = Builder::default();
    for record in busy(FULL as u64) {
        assert!(!builder.is_full());
        builder.push(&record);
    }
    assert!(builder.is_full());
    let mut builder = Builder::default();
    let what = What::Name { pid: 1, tid: 1, name: vec![b'x'; 1 << 16], exec: false };
    let long = Record { time: Nanos(1), cpu: 0, what };
    let pushed = (0..FULL).take_while(|_| {
        builder.push(&long);
        !builder.is_full()
    });
    assert!(pushed.count() < 20);
    assert!(Block::open(&builder.finish()).unwrap().all(|record| record == Ok(long.clone())));
}

#[test]
fn no_block_makes_it_panic() {
    let mut records = busy(200);
    for (index, record) in records.iter_mut().enumerate().filter(|(index, _)| index % 9 == 0) {
        record.what = What::Name { pid: 1, tid: index as u32, name: b"name".to_vec(), exec: true };
    }
    let good = pack(&records);
    let plain = lz4_flex::block::decompress_size_prepended(&good).unwrap();
    let mut random = Random::new(99);
    for round in 0..hostile::cases(20_000) {
        // Inside of the compression, too, so that the columns are reached.
        let mut bytes = if round % 2 == 0 { plain.clone() } else { good.clone() };
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = random.number() as u8;
        }
        bytes.truncate(random.below(bytes.len() * 4).max(1));
        if round % 2 == 0 {
            bytes = lz4_flex::block::compress_prepend_size(&bytes);
        }
        if let Ok(block) = Block::open(&bytes) {
            assert!(block.count() <= MOST);
        }
    }
}

#[test]
fn a_block_may_not_claim_more_than_it_can_hold() {
    let mut packed = pack(&busy(10));
    packed[..4].copy_from_slice(&(MOST as u32 + 1).to_le_bytes());
    assert!(Block::open(&packed).is_err());
    packed[..4].copy_from_slice(&(MOST as u32).to_le_bytes());
    assert!(Block::open(&packed).is_err());
}
