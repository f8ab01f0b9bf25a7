//! A new head on convolutions that were trained on other pictures: what a few photos of each class suffice for.
//!
//! ```no_run
//! use thalweg::prelude::*;
//! use thalweg_zoo::vision::transfer::Pretrained;
//!
//! let squeezenet = Pretrained::squeezenet("squeezenet1_1-b8a52dc0.pth")?;
//! let data = TrainingData::split(&ImageFolder::open("flowers")?.dataset(&squeezenet.photos(224)?)?, 0.2, 42)?.batch(16);
//! let mut learner = squeezenet.learner(data, 42)?;
//! learner.fine_tune(4, 6, 4e-3)?;
//! # Ok::<(), thalweg_zoo::ZooError>(())
//! ```
//!
//! Head, layer groups, rates and phases are in the manner of fast.ai's vision learner (Howard and Gugger 2020, "fastai: A
//! Layered API for Deep Learning"); the hidden layer is smaller, for few photos.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thalweg::data::DataError;
use thalweg::formats::weights;
use thalweg::prelude::*;
use thalweg::train::weights::{Match, load_weights};

use super::squeezenet::{self, SqueezeNet};
use super::{Sequence, sequence};
use crate::error::ZooError;

/// The layers of [`SqueezeNet::features`] before the second half of its convolutions.
const EARLY: usize = 8;
/// Units of the head's hidden layer.
const HIDDEN: usize = 128;

/// Convolutions in two groups, early and late, and a head; the groups are the fields.
#[derive(Debug, Module)]
pub struct Transfer {
    early: Sequence,
    late: Sequence,
    head: Sequence,
}

impl Transfer {
    /// On the convolutions of SqueezeNet, to so many classes: average and maximum over all positions, then twice batch norm,
    /// dropout and a dense layer.
    pub fn squeezenet(init: &mut Init, classes: usize) -> Transfer {
        let mut early = SqueezeNet::features(init);
        let late = early.split_off(EARLY);
        let pooled = 2 * squeezenet::FEATURES;
        let head = sequence![
            GlobalPool::AverageAndMax,
            BatchNorm::new(init, pooled),
            Dropout::new(0.25),
            Linear::new(init, pooled, HIDDEN),
            Activation::Relu,
            BatchNorm::new(init, HIDDEN),
            Dropout::new(0.5),
            Linear::new(init, HIDDEN, classes),
        ];
        Transfer { early, late, head }
    }

    /// On the convolutions of SqueezeNet, to so many classes, with nothing but the average over all positions and a dense
    /// layer behind them: class activation maps are defined.
    pub fn squeezenet_linear(init: &mut Init, classes: usize) -> Transfer {
        let head = sequence![GlobalPool::Average, Linear::new(init, squeezenet::FEATURES, classes)];
        Transfer { head, ..Transfer::squeezenet(init, classes) }
    }
}

impl Layer for Transfer {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &mut Forward) -> Tensor {
        let x = self.early.forward(x, cx);
        let x = self.late.forward(&x, cx);
        self.head.forward(&x, cx)
    }
}

/// Convolutions that were trained on other pictures.
#[derive(Clone, Debug)]
pub struct Pretrained {
    path: PathBuf,
    /// Under the names of [`Transfer`].
    tensors: BTreeMap<String, Array>,
    normalize: Normalize,
}

impl Pretrained {
    /// The weights of SqueezeNet 1.1 in this file: as torchvision has them (`squeezenet1_1-b8a52dc0.pth`), or as the published
    /// Caffe net under the names of its layers ([`squeezenet::from_caffe`]). Pictures are normalized as for the one or the
    /// other.
    ///
    /// # Errors
    /// If the file cannot be read, or its weights are others; the message names them.
    pub fn squeezenet(path: impl AsRef<Path>) -> Result<Pretrained, ZooError> {
        let path = path.as_ref();
        let tensors = weights::read(path)?.tensors;
        let is_caffe = tensors.keys().any(|name| name.starts_with("conv1."));
        let (tensors, normalize) = match is_caffe {
            true => {
                let tensors = squeezenet::from_caffe(tensors);
                let named = |clash| ZooError::setting(format!("weights {}", path.display()), format!("{clash}"));
                (tensors.map_err(named)?, squeezenet::normalization())
            }
            false => (tensors, Normalize::imagenet()),
        };
        // The first layers of the net; what follows is another head.
        let of_net = tensors.into_iter().filter_map(|(name, array)| Some((renamed(&name)?, array)));
        let pretrained = Pretrained { path: path.to_path_buf(), tensors: of_net.collect(), normalize };
        pretrained.load(&Session::cpu(), &Init::build(0, |init| Transfer::squeezenet(init, 1)))?;
        Ok(pretrained)
    }

    /// What photos become: in training a random part of them, `side` pixels high and wide, mirrored half of the time, a little
    /// lighter or darker; otherwise their middle.
    ///
    /// # Errors
    /// None of its own; as [`Augment::normalize`].
    pub fn photos(&self, side: usize) -> Result<Augment, DataError> {
        photos(side, &self.normalize)
    }

    /// A learner of [`Transfer::squeezenet`] on photos, which begins with these weights, the head as the seed says. All but
    /// the head is frozen.
    ///
    /// # Errors
    /// If the data are no pictures with classes.
    pub fn learner(&self, data: TrainingData, seed: u64) -> Result<Learner, ZooError> {
        let classes = data.classes().len();
        let net = Init::build(seed, |init| Transfer::squeezenet(init, classes));
        let session = Session::builder().seed(seed).build()?;
        self.load(&session, &net)?;
        let mut learner = Learner::new(data, net)?.in_session(session)?;
        learner.freeze()?;
        Ok(learner)
    }

    /// Gives the convolutions of `net` these weights.
    ///
    /// # Errors
    /// If they are those of another net: then nothing has changed.
    pub fn load(&self, session: &Session, net: &Transfer) -> Result<(), ZooError> {
        let convolutions = Convolutions { early: &net.early, late: &net.late };
        load_weights(session, &convolutions, self.tensors.clone(), Match::Exact)
            .map(drop)
            .map_err(|error| ZooError::setting(format!("weights {}", self.path.display()), error.to_string()))
    }
}

/// The part of a [`Transfer`] that was trained before.
#[derive(Module)]
struct Convolutions<'a> {
    early: &'a Sequence,
    late: &'a Sequence,
}

/// The name in [`Transfer`] of a tensor of SqueezeNet; none of those of its classifier.
fn renamed(name: &str) -> Option<String> {
    if name.starts_with("classifier.") {
        return None;
    }
    let at = |name: &str| -> Option<(usize, String)> {
        let (position, rest) = name.strip_prefix("features.")?.split_once('.')?;
        Some((position.parse().ok()?, rest.to_string()))
    };
    Some(match at(name) {
        Some((position, rest)) if position < EARLY => format!("early.{position}.{rest}"),
        Some((position, rest)) => format!("late.{}.{rest}", position - EARLY),
        // A stranger keeps its name, under which it is refused.
        None => name.to_string(),
    })
}

/// What photos become, normalized so.
pub(crate) fn photos(side: usize, normalize: &Normalize) -> Result<Augment, DataError> {
    /// Of a photo at least so much is left, so that what it shows is in the part.
    const LEAST: f32 = 0.35;
    let part = thalweg::data::Step::RandomResizedCrop {
        height: side,
        width: side,
        area: (LEAST, 1.0),
        ratio: (3.0 / 4.0, 4.0 / 3.0),
    };
    Augment::new().step(part).flip().brightness(0.2).contrast(0.2).normalize(normalize.clone())
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn the_head_is_small() {
        let convolutions = 722_496;
        let head = 2 * 1024 + 1024 * 128 + 128 + 2 * 128 + 128 * 5 + 5;
        check([3, 224, 224], 5, convolutions + head, &Init::build(1, |init| Transfer::squeezenet(init, 5)));
        let linear = Init::build(1, |init| Transfer::squeezenet_linear(init, 5));
        check([3, 64, 64], 5, convolutions + 512 * 5 + 5, &linear);
        assert_eq!(linear.groups(), ["early", "late", "head"]);
    }

    #[test]
    fn layers_of_squeezenet_are_found_again() {
        let net = Init::build(1, |init| SqueezeNet::new(init, 10));
        let renamed: Vec<String> = net.variables().iter().filter_map(|(path, _)| renamed(path)).collect();
        let transfer = Init::build(1, |init| Transfer::squeezenet(init, 5));
        let expected = transfer.variables().into_iter().map(|(path, _)| path).filter(|path| !path.starts_with("head"));
        assert_eq!(renamed, expected.collect::<Vec<_>>());
    }
}
