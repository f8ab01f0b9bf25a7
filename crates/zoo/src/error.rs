//! What can go wrong with recipes.

use std::path::PathBuf;

use thiserror::Error;

/// What can go wrong with recipes.
#[derive(Debug, Error)]
pub enum ZooError {
    /// A name that is not known.
    #[error("there is no {kind} `{name}`{}; there are: {}", near.as_ref().map_or(String::new(), |near| format!(" (did you mean `{near}`?)")), known.join(", "))]
    Unknown {
        /// What is named: `recipe`.
        kind: String,
        /// The name.
        name: String,
        /// The known name that is nearest, if one is near.
        near: Option<String>,
        /// The names there are.
        known: Vec<String>,
    },
    /// A setting that cannot be followed.
    #[error("{setting}: {reason}")]
    Setting {
        /// The setting with its value.
        setting: String,
        /// Why not, and what would do.
        reason: String,
    },
    /// A recipe that needs a folder of data and was given none.
    #[error("the recipe `{recipe}` needs data: {what}; say where they are with `--data`")]
    NeedsData {
        /// The recipe.
        recipe: &'static str,
        /// Which.
        what: &'static str,
    },
    /// What a word on the command line would help.
    #[error("{source}; {advice}")]
    Advised {
        /// What is wrong.
        source: Box<thalweg::Error>,
        /// What to say.
        advice: &'static str,
    },
    /// A picture that cannot be read or written.
    #[error("{}: {reason}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Something below.
    #[error(transparent)]
    Thalweg(#[from] thalweg::Error),
}

impl ZooError {
    /// That there is no `name` among the `known`; names the nearest of them.
    pub fn unknown<'a>(kind: &str, name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> ZooError {
        let near = thalweg::graph::text::nearest(name, known.clone()).map(str::to_string);
        let known = known.into_iter().map(str::to_string).collect();
        ZooError::Unknown { kind: kind.into(), name: name.into(), near, known }
    }

    pub(crate) fn setting(setting: impl Into<String>, reason: impl Into<String>) -> ZooError {
        ZooError::Setting { setting: setting.into(), reason: reason.into() }
    }
}

/// The errors of the crates below, through the one that gathers them.
macro_rules! through_thalweg {
    ($($type:ty),* $(,)?) => {
        $(impl From<$type> for ZooError {
            fn from(error: $type) -> ZooError {
                ZooError::Thalweg(error.into())
            }
        })*
    };
}
through_thalweg!(
    thalweg::array::ArrayError,
    thalweg::data::DataError,
    thalweg::formats::FormatError,
    thalweg::nn::NnError,
    thalweg::run::RunError,
    thalweg::train::FitError,
    thalweg::train::TrainedError,
    thalweg::train::checkpoint::CheckpointError,
);
