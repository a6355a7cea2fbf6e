use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Numbers whose room, once they are dropped, is for whoever asks for as many next: the steps of a training ask for the same
/// sizes over and over, and fresh zeros cost as much as what is computed in their place.
#[derive(Debug)]
pub(crate) struct Buffer(Vec<f32>);

/// Rooms that nobody uses, by size.
static FREE: Mutex<Free> = Mutex::new(Free { rooms: BTreeMap::new(), numbers: 0 });

struct Free {
    rooms: BTreeMap<usize, Vec<Vec<f32>>>,
    numbers: usize,
}

/// Most numbers in rooms that nobody uses, 32 MiB.
const MOST: usize = 1 << 23;

impl Buffer {
    /// So many numbers, of any value: they must be set before they are read.
    pub(crate) fn stale(numbers: usize) -> Self {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let found = free.rooms.get_mut(&numbers).and_then(Vec::pop);
        if found.is_some() {
            free.numbers -= numbers;
        }
        drop(free);
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
        let room = std::mem::take(&mut self.0);
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if !room.is_empty() && free.numbers + room.len() <= MOST {
            free.numbers += room.len();
            free.rooms.entry(room.len()).or_default().push(room);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_used_again_and_not_kept_without_bound() {
        // A size that no other test asks for.
        let numbers = 123_457;
        let first = Buffer::stale(numbers);
        let place = first.as_ptr();
        assert_eq!(first.len(), numbers);
        drop(first);
        assert_eq!(Buffer::stale(numbers).as_ptr(), place);
        drop(Buffer::stale(MOST + 1));
        assert!(FREE.lock().unwrap().numbers <= MOST);
        assert!(Buffer::stale(0).is_empty());
    }
}
