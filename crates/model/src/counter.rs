//! Equation 4.5: the increase of a cumulative counter.

use crate::{Absent, Reading};

/// Equation 4.5, `B_i = M_i(t+T) − M_i(t)`: what a cumulative counter grew by.
///
/// # Errors
/// The absence of either reading, or [`Absent::WentBackwards`]: a counter that shrank was
/// reset, and its true increase is unknown.
pub fn increase<U: Copy + Into<u64> + From<u64>>(from: &Reading<U>, to: &Reading<U>) -> Reading<U> {
    let from: u64 = (*from.as_ref().map_err(Clone::clone)?).into();
    let to: u64 = (*to.as_ref().map_err(Clone::clone)?).into();
    to.checked_sub(from).map(U::from).ok_or(Absent::WentBackwards { from, to })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Nanos;

    #[test]
    fn a_counter_that_shrank_has_no_increase() {
        assert_eq!(increase(&Ok(Nanos(3)), &Ok(Nanos(8))), Ok(Nanos(5)));
        assert_eq!(
            increase(&Ok(Nanos(8)), &Ok(Nanos(3))),
            Err(Absent::WentBackwards { from: 8, to: 3 })
        );
        assert_eq!(increase(&Err(Absent::Appeared), &Ok(Nanos(3))), Err(Absent::Appeared));
    }
}
