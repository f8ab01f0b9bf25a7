//! [`Averaging`]: weights averaged over the steps.

use thalweg_nn::Step;
use thalweg_nn::optim::Average;
use thalweg_run::graph::{Array, Variable};

use crate::fit::{Callback, Event, FitError, Flow, Moment};

/// Keeps an [`Average`] of the weights, measures the model with it, and leaves it in the session when training ends. The
/// averages are variables, `path/average`, and so a part of the checkpoints.
///
/// The weights themselves are back in their place when the model has been measured: a callback that is to see those that
/// were measured stands before this one.
///
/// ```
/// use thalweg_nn::optim::Average;
/// use thalweg_train::callbacks::Averaging;
/// let ema = Averaging::new(Average::ema(0.999));
/// ```
#[derive(Clone, Debug)]
pub struct Averaging {
    average: Average,
    /// The weights while the averages are in their place.
    aside: Vec<(Variable, Array)>,
}

impl Averaging {
    /// This average.
    pub fn new(average: Average) -> Averaging {
        Averaging { average, aside: Vec::new() }
    }

    /// Each parameter that is trained with the value of its average, once there is one.
    fn averages(moment: &Moment<'_>) -> Result<Vec<(Variable, Array)>, FitError> {
        if moment.step == moment.first_step {
            return Ok(Vec::new());
        }
        let variables = moment.session.variables();
        let mut averages = Vec::new();
        for (name, _) in &moment.optimization.gradients {
            let average = variables.get(&format!("{name}/average"));
            if let (Some(parameter), Some(average)) = (variables.get(&**name), average) {
                averages.push((parameter.clone(), moment.session.read(average)?.cast(parameter.dtype())));
            }
        }
        Ok(averages)
    }
}

impl Callback for Averaging {
    fn step(&mut self, step: &mut Step) {
        self.average.follow(step);
    }

    fn on(&mut self, event: &Event<'_>, moment: &Moment<'_>) -> Result<Flow, FitError> {
        match event {
            Event::Measures | Event::End => {
                for (parameter, average) in Averaging::averages(moment)? {
                    self.aside.push((parameter.clone(), moment.session.read(&parameter)?));
                    moment.session.write(&parameter, average)?;
                }
                if let Event::End = event {
                    self.aside.clear();
                }
            }
            Event::Measured { .. } => {
                for (parameter, weights) in self.aside.drain(..) {
                    moment.session.write(&parameter, weights)?;
                }
            }
            Event::Begin
            | Event::EpochBegins
            | Event::Step(_)
            | Event::EpochEnds(_)
            | Event::Saved(_)
            | Event::Note(_) => {}
        }
        Ok(Flow::Continue)
    }
}
