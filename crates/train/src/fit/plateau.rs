//! [`ReduceOnPlateau`]: the learning rate falls where a training gets no better.

use thalweg_formats::array::Real;
use thalweg_nn::Schedule;
use thalweg_nn::schedule::Plateau;
use thalweg_run::graph::Variable;

use super::{Callback, Event, FitError, Flow, Moment, Watch};
use crate::checkpoint::{Checkpoint, CheckpointError, Goal};

/// Multiplies the learning rate by the factor of a [`Plateau`], which hears of every measurement. The factor is a variable,
/// `plateau/factor`, and so a part of the checkpoints, as is the rest of what it remembers.
///
/// ```
/// use thalweg_nn::Adam;
/// use thalweg_nn::schedule::Plateau;
/// use thalweg_train::fit::{ReduceOnPlateau, Watch};
/// let mut reduce = ReduceOnPlateau::new(Watch::valid_loss(), Plateau::new(0.1, 3));
/// let optimizer = Adam::new(reduce.schedule(1e-3));   // and `&mut reduce` among the callbacks of the training
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
        let plateau = Plateau { larger_is_better: watch.goal == Goal::Max, ..plateau };
        let factor = Variable::new("plateau/factor", plateau.factor).not_trainable();
        ReduceOnPlateau { watch, plateau, factor }
    }

    /// The learning rate times the factor, for the optimizer.
    pub fn schedule(&self, lr: impl Into<Schedule>) -> Schedule {
        lr.into().scaled_by(&self.factor)
    }
}

impl Callback for ReduceOnPlateau {
    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        if let Event::Begin = event {
            self.plateau.factor = moment.session.read(&self.factor)?.item().unwrap_or(self.plateau.factor);
        }
        if let Some(value) = self.watch.read(event)? {
            moment.session.write(&self.factor, self.plateau.observe(value) as f32)?;
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
