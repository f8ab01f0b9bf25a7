//! Giving a model weights that were trained elsewhere.

use std::collections::BTreeMap;

use thalweg_formats::array::Array;
use thalweg_formats::weights::{Extra, LoadReport, Signature};
use thalweg_nn::Module;
use thalweg_run::graph::Variable;
use thalweg_run::{RunError, Session};
use thiserror::Error;

/// Which weights must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// All of the model, and no others.
    Exact,
    /// All of the model; others are left out.
    Complete,
    /// What there is: variables that are missing or of another shape keep their values, as a new head does.
    Partial,
}

/// Why weights were not taken.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// They are not those of the model.
    #[error("the weights do not fit the model: {0}")]
    Fit(LoadReport),
    /// There is nothing in them that the model has.
    #[error(
        "none of the {found} tensors has the name of one of the {wanted} variables; the first are `{first}` and `{variable}`"
    )]
    Strangers {
        /// How many tensors there are.
        found: usize,
        /// How many variables.
        wanted: usize,
        /// A tensor.
        first: String,
        /// A variable.
        variable: String,
    },
    /// The session refused them.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Gives the variables of `module` the values of `tensors` that have their names: as many as `demand` wants, or none.
/// Floats of another width are converted. What was missing, unexpected or of another shape stands in the report.
///
/// ```
/// use thalweg_formats::array::Array;
/// use thalweg_nn::{Init, Linear};
/// use thalweg_run::Session;
/// use thalweg_train::weights::{Match, load_weights};
///
/// let layer = Init::build(1, |init| Linear::new(init, 2, 3));
/// let session = Session::cpu();
/// let weight = Array::from([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]);
/// let report = load_weights(&session, &layer, [("weight".to_string(), weight)].into(), Match::Partial)?;
/// assert_eq!(report.to_string(), "missing: bias");
/// assert_eq!(session.read(&layer.weight)?.to_vec::<f32>()[5], 6.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If they do not fit as `demand` wants: then nothing has changed.
pub fn load_weights(
    session: &Session,
    module: &(impl Module + ?Sized),
    tensors: BTreeMap<String, Array>,
    demand: Match,
) -> Result<LoadReport, WeightsError> {
    let variables = module.variables();
    let kind = |variable: &Variable| (variable.dtype(), variable.core().shape().to_vec());
    let wanted: Signature = variables.iter().map(|(path, variable)| (path.clone(), kind(variable))).collect();
    let as_wanted = |(name, array): (String, Array)| match wanted.get(&name) {
        Some((dtype, _)) if dtype.is_float() && array.dtype().is_float() => (name, array.cast(*dtype)),
        _ => (name, array),
    };
    let mut tensors: BTreeMap<String, Array> = tensors.into_iter().map(as_wanted).collect();
    let report = LoadReport::new(&tensors, &wanted);
    let fits = match demand {
        Match::Exact => report.fits(Extra::Refuse),
        Match::Complete => report.fits(Extra::Ignore),
        Match::Partial => true,
    };
    if let ((Some(first), Some((variable, _))), true) =
        ((tensors.keys().next(), variables.first()), report.missing.len() == wanted.len())
    {
        let (first, variable) = (first.clone(), variable.clone());
        return Err(WeightsError::Strangers { found: tensors.len(), wanted: wanted.len(), first, variable });
    }
    if !fits {
        return Err(WeightsError::Fit(report));
    }
    for (path, variable) in &variables {
        let differs = report.different.iter().any(|difference| difference.name == *path);
        if let Some(value) = tensors.remove(path).filter(|_| !differs) {
            session.write(variable, value)?;
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_formats::array::f16;
    use thalweg_nn::{Init, Linear};

    fn layer() -> (Session, Linear) {
        (Session::cpu(), Init::build(1, |init| Linear::new(init, 2, 1)))
    }

    fn tensors<const N: usize>(tensors: [(&str, Array); N]) -> BTreeMap<String, Array> {
        tensors.into_iter().map(|(name, array)| (name.to_string(), array)).collect()
    }

    #[test]
    fn what_does_not_fit_is_named_and_nothing_changes() {
        let (session, layer) = layer();
        let before = session.read(&layer.weight).unwrap();
        let weight = || Array::from([[7.0f32], [8.0]]);
        let other = || Array::from([[7.0f32, 8.0]]);
        let cases = [
            (tensors([("weight", weight())]), Match::Complete, "do not fit the model: missing: bias"),
            (
                tensors([("weight", weight()), ("bias", [0.0f32].into()), ("x", weight())]),
                Match::Exact,
                "unexpected: x",
            ),
            (
                tensors([("weight", other()), ("bias", [0.0f32].into())]),
                Match::Complete,
                "weight is f32[1, 2], expected f32[2, 1]",
            ),
            (
                tensors([("fc.weight", weight())]),
                Match::Partial,
                "none of the 1 tensors has the name of one of the 2 variables; the first are `fc.weight` and `weight`",
            ),
        ];
        for (tensors, demand, part) in cases {
            let error = load_weights(&session, &layer, tensors, demand).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert_eq!(session.read(&layer.weight).unwrap(), before);
        }
    }

    #[test]
    fn half_floats_are_widened_and_the_rest_stays() {
        let (session, layer) = layer();
        let bias = session.read(&layer.bias.clone().unwrap()).unwrap();
        let half = Array::from([[f16::from_f32(0.5)], [f16::from_f32(-2.0)]]);
        let given = tensors([("weight", half), ("bias", [1.0f32, 2.0].into())]);
        let report = load_weights(&session, &layer, given, Match::Partial).unwrap();
        assert_eq!(report.to_string(), "bias is f32[2], expected f32[1]");
        assert_eq!(session.read(&layer.weight).unwrap(), Array::from([[0.5f32], [-2.0]]));
        assert_eq!(session.read(&layer.bias.unwrap()).unwrap(), bias);
    }
}
