use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Numbers whose room, once they are dropped, is for whoever asks for as many next: the steps of a training ask for the same
/// sizes over and over, and fresh zeros cost as much as what is computed in their place.
#[derive(Debug)]
pub(crate) struct Buffer(Vec<f32>);

/// Rooms that nobody uses, by size.
#[derive(Debug)]
struct Free {
    rooms: BTreeMap<usize, Vec<Vec<f32>>>,
    numbers: usize,
}

static FREE: Mutex<Free> = Mutex::new(Free::NONE);

/// Most numbers in rooms that nobody uses, 32 MiB.
const MOST: usize = 1 << 23;

impl Free {
    const NONE: Self = Self { rooms: BTreeMap::new(), numbers: 0 };

    fn take(&mut self, numbers: usize) -> Option<Vec<f32>> {
        let room = self.rooms.get_mut(&numbers)?.pop()?;
        self.numbers -= numbers;
        Some(room)
    }

    /// Gives up all others when there are too many: the sizes that are asked for may have changed.
    fn give(&mut self, room: Vec<f32>) {
        if room.is_empty() || room.len() > MOST {
            return;
        }
        if self.numbers + room.len() > MOST {
            *self = Self::NONE;
        }
        self.numbers += room.len();
        self.rooms.entry(room.len()).or_default().push(room);
    }
}

impl Buffer {
    /// So many numbers, of any value: they must be set before they are read.
    pub(crate) fn stale(numbers: usize) -> Self {
        let found = FREE.lock().unwrap_or_else(PoisonError::into_inner).take(numbers);
        let mut room = found.unwrap_or_else(|| vec![0.0; numbers]);
        if cfg!(debug_assertions) {
            // Who reads them all the same is found out.
            room.fill(f32::NAN);
        }
        Self(room)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        FREE.lock().unwrap_or_else(PoisonError::into_inner).give(std::mem::take(&mut self.0));
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

/// A buffer in parts of one size for parallel work; if it is empty, so are they.
pub(crate) fn parts(buffer: &mut [f32], size: usize, count: usize) -> Vec<&mut [f32]> {
    let mut parts: Vec<&mut [f32]> = buffer.chunks_mut(size.max(1)).collect();
    parts.resize_with(count, Default::default);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_used_again_and_not_kept_without_bound() {
        let mut free = Free::NONE;
        free.give(vec![7.0; 5]);
        free.give(Vec::new());
        free.give(vec![0.0; MOST + 1]);
        assert_eq!((free.numbers, free.take(4)), (5, None));
        assert_eq!((free.take(5), free.take(5), free.numbers), (Some(vec![7.0; 5]), None, 0));
        free.give(vec![0.0; 5]);
        free.give(vec![0.0; MOST]);
        assert_eq!((free.numbers, free.take(5)), (MOST, None), "what nobody asks for makes way");
        assert_eq!(Buffer::stale(6).len(), 6);
    }
}
