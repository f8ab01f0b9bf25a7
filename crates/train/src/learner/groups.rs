//! Layer groups: frozen together, with one learning rate.

use thalweg_nn::module::is_below;
use thalweg_nn::optim::Group;

use super::Learner;
use crate::fit::FitError;

/// The learning rates of the layer groups, from the input to the output.
///
/// ```
/// use thalweg_train::Rates;
/// assert_eq!(Rates::from((1e-4, 1e-2)).of(3)?, [1e-4, 1e-3, 1e-2]);
/// # Ok::<(), thalweg_train::FitError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Rates {
    /// The same for all.
    Same(f64),
    /// From the first group to the last, each by the same factor larger than the one before.
    Range(f64, f64),
    /// One for each.
    Each(Vec<f64>),
}

impl From<f64> for Rates {
    fn from(rate: f64) -> Rates {
        Rates::Same(rate)
    }
}

impl From<(f64, f64)> for Rates {
    fn from((first, last): (f64, f64)) -> Rates {
        Rates::Range(first, last)
    }
}

impl From<Vec<f64>> for Rates {
    fn from(rates: Vec<f64>) -> Rates {
        Rates::Each(rates)
    }
}

impl<const N: usize> From<[f64; N]> for Rates {
    fn from(rates: [f64; N]) -> Rates {
        Rates::Each(rates.to_vec())
    }
}

impl Rates {
    /// The rate of each of so many groups.
    ///
    /// # Errors
    /// If a rate is not finite and above 0, or there are not as many as groups.
    pub fn of(&self, groups: usize) -> Result<Vec<f64>, FitError> {
        let given = match self {
            Rates::Same(rate) => &[*rate][..],
            Rates::Range(first, last) => &[*first, *last],
            Rates::Each(rates) => rates,
        };
        if let Some(rate) = given.iter().find(|rate| !(rate.is_finite() && **rate > 0.0)) {
            let reason = "must be finite and above 0; layers that are to stay as they are are frozen".into();
            return Err(FitError::Setting { setting: format!("learning rate {rate}"), reason });
        }
        let rates = match self {
            Rates::Same(rate) => vec![*rate; groups],
            // From the last on, which is exact so; a single group is the last.
            Rates::Range(first, last) => {
                let share = |group: usize| (groups - 1 - group) as f64 / (groups.max(2) - 1) as f64;
                (0..groups).map(|group| last * (first / last).powf(share(group))).collect()
            }
            Rates::Each(rates) => rates.clone(),
        };
        if rates.len() != groups {
            let reason = format!("there are {groups} layer groups, and each needs one");
            return Err(FitError::Setting { setting: format!("{} learning rates", rates.len()), reason });
        }
        Ok(rates)
    }
}

impl Learner {
    /// The paths of the layer groups, from the input to the output.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// With these layer groups, given by the paths under which their variables are.
    ///
    /// # Errors
    /// If a path has no variable, or a variable is in no group.
    pub fn grouped<S: Into<String>>(self, groups: impl IntoIterator<Item = S>) -> Result<Learner, FitError> {
        let groups: Vec<String> = groups.into_iter().map(Into::into).collect();
        let known = || self.variables.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>().join(" ");
        if let Some(group) = groups.iter().find(|group| !self.variables.iter().any(|(path, _)| is_below(path, group))) {
            let reason = format!("no variable is under this path; there are: {}", known());
            return Err(FitError::Setting { setting: format!("layer group `{group}`"), reason });
        }
        let in_none = |(path, _): &&(String, _)| !groups.iter().any(|group| is_below(path, group));
        if let Some((path, _)) = self.variables.iter().find(in_none) {
            let reason = format!("the variable `{path}` is in none of them");
            return Err(FitError::Setting { setting: format!("layer groups {}", groups.join(" ")), reason });
        }
        Ok(Learner { groups, frozen_to: 0, ..self })
    }

    /// Freezes the layer groups before group `n`, counted from 0, or from the end if it is negative, and unfreezes the
    /// others: −1 trains the last group alone. What frozen layers keep beside weights, such as running statistics, is left
    /// alone too.
    ///
    /// # Errors
    /// If there is no such group.
    pub fn freeze_to(&mut self, n: isize) -> Result<(), FitError> {
        let groups = self.groups.len() as isize;
        let first = if n < 0 { n + groups } else { n };
        if !(0..groups.max(1)).contains(&first) {
            let reason = format!("there are {groups} layer groups: {}", self.groups.join(" "));
            return Err(FitError::Setting { setting: format!("freezing to group {n}"), reason });
        }
        self.frozen_to = first as usize;
        let frozen = &self.groups[..self.frozen_to];
        for (path, variable) in &self.variables {
            variable.set_trainable(!frozen.iter().any(|group| is_below(path, group)));
        }
        Ok(())
    }

    /// Freezes all layer groups but the last.
    ///
    /// # Errors
    /// If there is none.
    pub fn freeze(&mut self) -> Result<(), FitError> {
        self.freeze_to(-1)
    }

    /// Unfreezes all.
    ///
    /// # Errors
    /// None of its own; as [`Learner::freeze_to`].
    pub fn unfreeze(&mut self) -> Result<(), FitError> {
        self.freeze_to(0)
    }

    /// The largest rate of the groups that are trained, and the groups of the optimizer that make the others of it.
    pub(super) fn rates(&self, rates: &Rates) -> Result<(f64, Vec<Group>), FitError> {
        let rates = rates.of(self.groups.len())?;
        let trained: Vec<(&String, f64)> = self.groups.iter().zip(rates).skip(self.frozen_to).collect();
        let largest = trained.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        let has_parameters = |group: &str| {
            self.variables.iter().any(|(path, variable)| is_below(path, group) && variable.is_trainable())
        };
        let groups = trained
            .into_iter()
            .filter(|(group, rate)| *rate != largest && has_parameters(group))
            .map(|(group, rate)| Group::new(group).lr_factor(rate / largest))
            .collect();
        Ok((largest, groups))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_groups() {
        assert_eq!(Rates::from(0.1).of(2).unwrap(), [0.1, 0.1]);
        assert_eq!(Rates::from((1e-3, 1e-1)).of(1).unwrap(), [1e-1]);
        assert_eq!(Rates::from([1.0, 2.0]).of(2).unwrap(), [1.0, 2.0]);
        let refusal = |rates: Rates, groups| rates.of(groups).unwrap_err().to_string();
        assert!(refusal([0.1].into(), 2).contains("1 learning rates: there are 2 layer groups"));
        for (rates, shown) in [
            (Rates::from(0.0), "learning rate 0: must be finite and above 0"),
            (Rates::from(f64::NAN), "learning rate NaN"),
            (Rates::from((-1e-3, 1e-2)), "learning rate -0.001"),
            (Rates::from((0.0, 1e-2)), "learning rate 0"),
            (Rates::from([1e-3, f64::INFINITY]), "learning rate inf"),
        ] {
            let message = refusal(rates, 2);
            assert!(message.contains(shown), "{message}");
        }
        assert!(refusal((0.0, 0.1).into(), 1).contains("learning rate 0"));
    }
}
