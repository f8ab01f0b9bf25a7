//! [`CompileTimes`]: where the time between the first run of something and its plan goes.

use std::time::{Duration, Instant};

/// How long each part of compiling took, from what is fetched to what runs. Memory, the initial values of variables and
/// the run itself are not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompileTimes {
    /// The graph of what is fetched is found.
    pub capture: Duration,
    /// The feeds are checked and the named sizes become numbers.
    pub bind: Duration,
    /// The graph is made better: stable forms, simplification, common subexpressions, folding, dead code.
    pub passes: Duration,
    /// Fusion, schedule and memory plan.
    pub lower: Duration,
    /// Kernels are chosen for the sizes.
    pub prepare: Duration,
}

impl CompileTimes {
    /// The parts by name, in the order in which they happen.
    pub fn parts(&self) -> [(&'static str, Duration); 5] {
        [
            ("capture", self.capture),
            ("bind", self.bind),
            ("passes", self.passes),
            ("lower", self.lower),
            ("prepare", self.prepare),
        ]
    }

    /// All of it.
    pub fn total(&self) -> Duration {
        self.parts().iter().map(|(_, time)| time).sum()
    }
}

/// A clock that is read at the end of each part.
#[derive(Debug)]
pub(crate) struct Laps {
    last: Instant,
}

impl Laps {
    pub(crate) fn begin() -> Laps {
        Laps { last: Instant::now() }
    }

    /// The time since the lap before, or the beginning.
    pub(crate) fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.last, now))
    }
}
