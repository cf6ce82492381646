//! How much a build tries.

/// A choice between the time that a build takes and the graph that it leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preset {
    /// The best graph.
    Recall,
    /// A graph as good as insertion makes it, in less time.
    #[default]
    Balanced,
    /// The least time.
    Speed,
}

/// What a [`Preset`] stands for. The width of a candidate pool and the degree are [`cairn_model::HnswConfig`]'s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// Clusters that each point is compared with.
    pub probes: usize,
    /// Passes that search the graph from every point, at most.
    pub passes: usize,
    /// Share of sampled points' ten nearest that a narrow search must find for a further pass to be left out.
    pub recall: f32,
}

impl Preset {
    /// The effort.
    #[must_use]
    pub const fn effort(self) -> Effort {
        match self {
            Self::Recall => Effort { probes: 12, passes: 2, recall: 1.0 },
            Self::Balanced => Effort { probes: 8, passes: 1, recall: 0.999 },
            Self::Speed => Effort { probes: 6, passes: 1, recall: 0.9 },
        }
    }
}

impl Default for Effort {
    fn default() -> Self {
        Preset::default().effort()
    }
}
