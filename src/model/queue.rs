//! Queue whose bytes are bounded: past the bound the oldest items that are not under way are dropped, and
//! counted as a loss, one for each node, run and cause.

use std::collections::{BTreeMap, BTreeSet};

use super::loss::LossCounter;
use super::outcome::{Loss, LossCause};

/// Item of a queue.
pub trait Queued {
    /// Returns the bytes that the item takes.
    fn bytes(&self) -> usize;

    /// Returns the loss to count if the item is dropped; none if nothing is lost with it.
    fn loss(&self) -> Option<Loss>;

    /// Returns true if the item is a loss itself. A loss is never dropped for room: it may have arrived
    /// without our knowing, and its checks would then be counted twice.
    fn is_loss(&self) -> bool;
}

/// Items by their number, oldest first, and the losses that are not taken out yet.
#[derive(Debug)]
pub struct LossQueue<T> {
    items: BTreeMap<u64, T>,
    /// Numbers of the items that are not under way.
    waiting: BTreeSet<u64>,
    next: u64,
    bytes: usize,
    /// Bytes of the items under way, a part of `bytes`.
    bytes_under_way: usize,
    limit_bytes: usize,
    losses: LossCounter,
}

impl<T: Queued> LossQueue<T> {
    /// Creates an empty queue that holds at most `limit_bytes`, or one item.
    pub fn new(limit_bytes: usize) -> LossQueue<T> {
        LossQueue {
            items: BTreeMap::new(),
            waiting: BTreeSet::new(),
            next: 0,
            bytes: 0,
            bytes_under_way: 0,
            limit_bytes,
            losses: LossCounter::default(),
        }
    }

    /// Adds an item. Returns the items that were dropped to make room; [`LossQueue::losses`] counts them.
    pub fn push(&mut self, item: T) -> Vec<T> {
        self.bytes += item.bytes();
        self.items.insert(self.next, item);
        self.waiting.insert(self.next);
        self.next += 1;
        let mut dropped = Vec::new();
        while self.bytes > self.limit_bytes && self.waiting.len() > 1 {
            let is_loss = |id: &u64| self.items.get(id).is_some_and(Queued::is_loss);
            let Some(id) = self.waiting.iter().copied().find(|id| !is_loss(id)) else { break };
            dropped.extend(self.drop(id, LossCause::MemoryFull));
        }
        dropped
    }

    /// Removes an item that is lost for this cause, and counts it.
    pub fn drop(&mut self, id: u64, cause: LossCause) -> Option<T> {
        let item = self.remove(id)?;
        if let Some(mut loss) = item.loss() {
            if !item.is_loss() {
                loss.cause = cause;
            }
            self.losses.add(&loss);
        }
        Some(item)
    }

    /// Removes an item that the next place has.
    pub fn remove(&mut self, id: u64) -> Option<T> {
        let item = self.items.remove(&id)?;
        self.bytes -= item.bytes();
        if !self.waiting.remove(&id) {
            self.bytes_under_way -= item.bytes();
        }
        Some(item)
    }

    /// Takes out the oldest `count` items, with their numbers.
    pub fn take_oldest(&mut self, count: usize) -> Vec<(u64, T)> {
        let ids: Vec<u64> = self.items.keys().take(count).copied().collect();
        ids.into_iter().filter_map(|id| Some((id, self.remove(id)?))).collect()
    }

    /// Puts an item that was taken out back into its place.
    pub fn restore(&mut self, id: u64, item: T) {
        self.bytes += item.bytes();
        self.items.insert(id, item);
        self.waiting.insert(id);
    }

    /// Notes that an item is under way. Returns false if it is already, or is not in the queue.
    pub fn begin(&mut self, id: u64) -> bool {
        let is_new = self.waiting.remove(&id);
        if is_new {
            self.bytes_under_way += self.items.get(&id).map_or(0, Queued::bytes);
        }
        is_new
    }

    /// Lets an item that was under way wait again.
    pub fn put_back(&mut self, id: u64) {
        if let Some(item) = self.items.get(&id)
            && self.waiting.insert(id)
        {
            self.bytes_under_way -= item.bytes();
        }
    }

    /// Replaces the first waiting item that `change` makes a new one of. Returns false if there is none.
    pub fn replace_waiting(&mut self, change: impl Fn(&T) -> Option<T>) -> bool {
        let changed = self.waiting.iter().find_map(|id| Some((*id, change(self.items.get(id)?)?)));
        let Some((id, new)) = changed else { return false };
        self.bytes += new.bytes();
        if let Some(old) = self.items.insert(id, new) {
            self.bytes -= old.bytes();
        }
        true
    }

    /// Returns the oldest item that waits.
    pub fn first_waiting(&self) -> Option<(u64, &T)> {
        let id = *self.waiting.first()?;
        self.items.get(&id).map(|item| (id, item))
    }

    /// Returns all items, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.values()
    }

    /// Returns the losses that are not taken out yet.
    pub fn losses(&self) -> &LossCounter {
        &self.losses
    }

    /// Takes the losses out; counting begins anew.
    pub fn take_losses(&mut self) -> Vec<Loss> {
        self.losses.take()
    }

    /// Returns the bytes of all items.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the bytes of the items under way.
    pub fn bytes_under_way(&self) -> usize {
        self.bytes_under_way
    }

    /// Returns the bound on the bytes of all items.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Returns true if an item is under way.
    pub fn is_under_way(&self) -> bool {
        self.items.len() > self.waiting.len()
    }

    /// Returns the number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns true if there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}
