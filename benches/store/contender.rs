//! What every contender does.

use fieldgate::model::Batch;

pub(crate) trait Contender {
    /// On the disk, by one real sync, when this returns.
    fn commit(&mut self, batches: Vec<Batch>);

    /// Decodes and hands out the oldest, at least `most` samples where there are as many. What is delivered
    /// is kept once a second, as the store keeps its cursors, and its room given back.
    fn drain(&mut self, most: u64, deliver: &mut dyn FnMut(&Batch));
}
