//! How much a build tries.

use cairn_model::Preset;

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

impl Effort {
    /// What a preset asks for.
    #[must_use]
    pub const fn of(preset: Preset) -> Self {
        match preset {
            Preset::Recall => Self { probes: 12, passes: 2, recall: 1.0 },
            Preset::Balanced => Self { probes: 8, passes: 1, recall: 0.999 },
            Preset::Speed => Self { probes: 6, passes: 1, recall: 0.9 },
        }
    }
}

impl Default for Effort {
    fn default() -> Self {
        Self::of(Preset::default())
    }
}
