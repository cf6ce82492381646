//! The best of a stream of candidates.

/// Distance, then ordinal.
pub(super) type Candidate = (f32, u32);

pub(super) fn nearer(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

/// The nearest candidates of a stream: a bounded binary heap, the worst on top.
pub(super) struct Nearest {
    heap: std::collections::BinaryHeap<Worst>,
    size: usize,
}

struct Worst(Candidate);

impl PartialEq for Worst {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Worst {}
impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Worst {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        nearer(&self.0, &other.0)
    }
}

impl Nearest {
    pub(super) fn new(size: usize) -> Self {
        Self { heap: std::collections::BinaryHeap::with_capacity(size.min(65_536)), size }
    }

    pub(super) fn offer(&mut self, candidate: Candidate) {
        if self.heap.len() < self.size {
            self.heap.push(Worst(candidate));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && nearer(&candidate, &worst.0).is_lt()
        {
            *worst = Worst(candidate);
        }
    }

    pub(super) fn sorted(self) -> Vec<Candidate> {
        self.heap.into_sorted_vec().into_iter().map(|worst| worst.0).collect()
    }
}
