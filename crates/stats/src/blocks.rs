//! Randomised blocks: the order in which treatments are measured.

use crate::random::Draw;

/// The order of `treatments` treatments over so many blocks, each of which has every treatment
/// once, in an order drawn from the seed. With two treatments a block in the order A B is followed
/// by one in the order B A, and the other way round, so that a drift of the machine cancels (ABBA).
#[must_use]
pub fn order(treatments: usize, blocks: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut draw = Draw::new(seed);
    let mut all: Vec<Vec<usize>> = Vec::with_capacity(blocks);
    for block in 0..blocks {
        let mirrored = all.last().filter(|_| treatments == 2 && block % 2 == 1);
        all.push(if let Some(before) = mirrored {
            before.iter().rev().copied().collect()
        } else {
            let mut order: Vec<usize> = (0..treatments).collect();
            draw.shuffle(&mut order);
            order
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn each_block_has_each_treatment_once(n in 0..20_usize, blocks in 0..20_usize, seed: u64) {
            let order = order(n, blocks, seed);
            prop_assert_eq!(order.len(), blocks);
            for block in &order {
                let all: BTreeSet<_> = block.iter().collect();
                prop_assert!(block.len() == n && all.len() == n);
            }
            prop_assert_eq!(&order, &super::order(n, blocks, seed));
        }
    }

    #[test]
    fn two_treatments_come_as_abba() {
        for pair in order(2, 20, 3).chunks(2) {
            assert_eq!(pair[0], pair[1].iter().rev().copied().collect::<Vec<_>>());
        }
        let firsts: BTreeSet<usize> = order(2, 40, 3).iter().map(|block| block[0]).collect();
        assert_eq!(firsts.len(), 2, "which one begins is drawn");
        let orders: BTreeSet<Vec<usize>> = order(3, 200, 1).into_iter().collect();
        assert_eq!(orders.len(), 6, "all orders of three are drawn");
    }
}
