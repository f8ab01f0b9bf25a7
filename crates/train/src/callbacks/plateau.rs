//! [`ReduceOnPlateau`]: the learning rate falls where a training gets no better.

use thalweg_formats::array::Real;
use thalweg_nn::schedule::Plateau;
use thalweg_run::graph::{Tensor, Variable};

use super::Watch;
use crate::checkpoint::{Checkpoint, CheckpointError, Goal};
use crate::fit::{Callback, Event, FitError, Flow, Moment};

/// The name of the factor.
const FACTOR: &str = "plateau/factor";

/// Multiplies the learning rate by the factor of a [`Plateau`], which hears of every measurement. The factor is a variable,
/// `plateau/factor`, and so a part of the checkpoints, as is the rest of what it remembers.
///
/// ```
/// use thalweg_nn::schedule::Plateau;
/// use thalweg_train::callbacks::{ReduceOnPlateau, Watch};
/// let mut reduce = ReduceOnPlateau::new(Watch::valid_loss(), Plateau::new(0.1, 3));
/// ```
#[derive(Clone, Debug)]
pub struct ReduceOnPlateau {
    watch: Watch,
    plateau: Plateau,
    factor: Variable,
}

impl ReduceOnPlateau {
    /// Reduces by this plateau; whether smaller or larger is better is as with what is watched.
    pub fn new(watch: Watch, plateau: Plateau) -> ReduceOnPlateau {
        let plateau = Plateau { larger_is_better: watch.goal() == Goal::Max, ..plateau };
        let factor = Variable::new(FACTOR, plateau.factor).not_trainable();
        ReduceOnPlateau { watch, plateau, factor }
    }

    /// The factor in the graph that is trained: of a step that a checkpoint carries it is not this one's own.
    fn factor(&self, moment: &Moment<'_>) -> Variable {
        moment.session.variables().remove(FACTOR).unwrap_or_else(|| self.factor.clone())
    }
}

impl Callback for ReduceOnPlateau {
    fn name(&self) -> String {
        format!("plateau of {}", self.watch.name())
    }

    fn rate(&mut self, _: Option<&str>, rate: Tensor, _: &Tensor) -> Tensor {
        let factor = self.factor.cast(rate.dtype());
        rate * factor
    }

    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        if let Event::Begin = event {
            if !moment.resumed {
                (self.plateau.best, self.plateau.waited) = (None, 0);
            }
            let factor = moment.session.read(&self.factor(moment))?;
            self.plateau.factor = factor.item().unwrap_or(self.plateau.factor);
        }
        if let Some(value) = self.watch.read(event)? {
            moment.session.write(&self.factor(moment), self.plateau.observe(value) as f32)?;
        }
        Ok(Flow::Continue)
    }

    fn remember(&self, memory: &mut Checkpoint) {
        memory.set("plateau", &(self.plateau.best.map(Real), self.plateau.waited));
    }

    fn recall(&mut self, memory: &Checkpoint) -> Result<(), CheckpointError> {
        let (best, waited): (Option<Real>, u32) = memory.get("plateau")?;
        (self.plateau.best, self.plateau.waited) = (best.map(|best| best.0), waited);
        Ok(())
    }
}
