// SPDX-License-Identifier: GPL-2.0

//! The numbers in `/dev/tbstreamX`.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// Numbers in use, over all peers.
#[pin_data]
pub(crate) struct Indices {
    /// One bit for each number.
    #[pin]
    used: Mutex<KVec<u64>>,
}

impl Indices {
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self { used <- new_mutex!(KVec::new()) }),
            GFP_KERNEL,
        )
    }

    /// Takes the lowest free number.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(super) fn take(self: &Arc<Self>) -> Result<Index> {
        let mut used = self.used.lock();
        let free = used.iter().position(|&word| word != u64::MAX);
        let word = free.unwrap_or(used.len());
        if word == used.len() {
            used.push(0, GFP_KERNEL)?;
        }
        let bits = used.get_mut(word).ok_or(ENOMEM)?;
        let bit = bits.trailing_ones();
        *bits |= 1 << bit;
        let value = u32::try_from(word).map_err(|_| ENOSPC)? * u64::BITS + bit;
        Ok(Index {
            value,
            indices: self.clone(),
        })
    }
}

/// A number that is taken until this is dropped.
pub(crate) struct Index {
    value: u32,
    indices: Arc<Indices>,
}

impl Index {
    /// The number.
    pub(crate) fn get(&self) -> u32 {
        self.value
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let mut used = self.indices.used.lock();
        // CAST: A `u32` fits into a `usize` on all machines with this hardware.
        if let Some(bits) = used.get_mut((self.value / u64::BITS) as usize) {
            *bits &= !(1 << (self.value % u64::BITS));
        }
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kunit_tests(thunderbolt_stream_index)]
mod tests {
    use super::*;

    #[test]
    fn lowest_first() -> Result {
        let indices = Indices::new()?;
        let mut taken = KVec::new();
        for expected in 0..130 {
            let index = indices.take()?;
            assert_eq!(index.get(), expected);
            taken.push(index, GFP_KERNEL)?;
        }
        for value in [64, 3, 127] {
            taken.retain(|index| index.get() != value);
        }
        assert_eq!(indices.take()?.get(), 3);
        let three = indices.take()?;
        assert_eq!(three.get(), 3);
        let sixty_four = indices.take()?;
        assert_eq!(sixty_four.get(), 64);
        assert_eq!(indices.take()?.get(), 127);
        Ok(())
    }
}
