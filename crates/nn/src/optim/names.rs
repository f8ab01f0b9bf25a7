//! Optimizers by name, for command lines and configuration.

use crate::error::NnError;
use crate::optim::{Adadelta, Adagrad, Adam, AdamW, Adamax, Lamb, Lion, NAdam, Optimizer, RmsProp, Sgd};
use crate::schedule::Schedule;

/// The names that [`by_name`] knows.
pub const NAMES: [&str; 12] = [
    "sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "adamax", "nadam", "lamb", "lion",
];

/// The optimizer of this name with its usual settings; [`Optimizer::set`] changes them by name. `momentum` and
/// `nesterov` are SGD with momentum 0.9.
///
/// ```
/// use thalweg_nn::optim::by_name;
/// let mut optimizer = by_name("adam", 1e-3)?;
/// optimizer.set("beta1", 0.95)?;
/// let message = optimizer.set("beta2", 1.0).unwrap_err().to_string();
/// assert_eq!(message, "adam: beta2 is 1; it must be at least 0 and below 1");
/// # Ok::<(), thalweg_nn::NnError>(())
/// ```
///
/// # Errors
/// If the name is not known or the learning rate is NaN, infinite, negative or 0.
pub fn by_name(name: &str, lr: impl Into<Schedule>) -> Result<Optimizer, NnError> {
    Ok(match name {
        "sgd" => Sgd::try_new(lr)?.boxed(),
        "momentum" => Sgd::try_new(lr)?.momentum(0.9).boxed(),
        "nesterov" => Sgd::try_new(lr)?.momentum(0.9).nesterov().boxed(),
        "adagrad" => Adagrad::try_new(lr)?.boxed(),
        "adadelta" => Adadelta::try_new(lr)?.boxed(),
        "rmsprop" => RmsProp::try_new(lr)?.boxed(),
        "adam" => Adam::try_new(lr)?.boxed(),
        "adamw" => AdamW::try_new(lr)?.boxed(),
        "adamax" => Adamax::try_new(lr)?.boxed(),
        "nadam" => NAdam::try_new(lr)?.boxed(),
        "lamb" => Lamb::try_new(lr)?.boxed(),
        "lion" => Lion::try_new(lr)?.boxed(),
        _ => return Err(NnError::unknown("optimizer", name, NAMES)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_gives_its_optimizer_and_others_are_refused() {
        for name in NAMES {
            let optimizer = by_name(name, 0.1).unwrap();
            let expected = if ["momentum", "nesterov"].contains(&name) { "sgd" } else { name };
            assert_eq!(crate::optim::Rule::name(optimizer.rule()), expected);
        }
        let message = by_name("adma", 0.1).unwrap_err().to_string();
        assert!(message.contains("`adma`") && message.contains("adamw"), "{message}");
    }

    #[test]
    fn learning_rates_and_settings_out_of_range_are_refused() {
        for lr in [f64::NAN, f64::INFINITY, -0.1, 0.0] {
            let message = by_name("sgd", lr).unwrap_err().to_string();
            assert!(message.contains("sgd: lr is") && message.contains("above 0"), "{message}");
        }
        let mut adam = by_name("adam", Schedule::cosine(0.1, 10)).unwrap();
        for (name, value) in [("weight_decay", -1.0), ("beta1", 1.0), ("eps", f64::NAN), ("clip_norm", 0.0)] {
            let message = adam.set(name, value).unwrap_err().to_string();
            assert!(message.contains(&format!("adam: {name} is {value}")), "{message}");
        }
        let message = adam.set("betta1", 0.9).unwrap_err().to_string();
        assert!(
            message.contains("`betta1`") && message.contains("clip_norm") && message.contains("beta1"),
            "{message}"
        );
        let message = by_name("sgd", Schedule::cosine(0.1, 0)).unwrap_err().to_string();
        assert!(message.contains("length of the schedule"), "{message}");
    }
}
