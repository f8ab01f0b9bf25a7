//! [`Maps`]: where a model looked in a photo.

use std::collections::HashSet;

use thalweg_data::{DataError, Part, Picture, heat_sheet};
use thalweg_run::Feeds;
use thalweg_run::graph::autodiff::try_grad;
use thalweg_run::graph::tensor::topological;
use thalweg_run::graph::{Array, DType, Op, Tensor, TensorId, placeholder};

use super::{Prediction, Trained, TrainedError, one};

/// How it is told what counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapMethod {
    /// Grad-CAM (Selvaraju et al. 2017): the channels of the last feature map, each weighed by the mean gradient of the
    /// class's score for it, and what is above 0 of their sum. For any net with a convolution.
    GradCam,
    /// Class activation maps (Zhou et al. 2016): what each position of the last feature map adds to the class's score. Only
    /// where the score is a sum over positions: of nets that end with average pooling and a dense layer, or average pooling
    /// alone.
    Cam,
}

/// Where a model looks in photos, from its checkpoint alone: the last feature map is found in the graph, and the scores of
/// classes are differentiated for it.
///
/// ```no_run
/// use thalweg_data::{Limits, Picture};
/// use thalweg_train::{MapMethod, Trained};
/// let flowers = Trained::open("runs/flowers")?;
/// let photo = Picture::read("rose.jpg".as_ref(), &Limits::default())?;
/// flowers.maps(MapMethod::GradCam)?.look(&photo, None)?.over(&photo)?.write_png("rose-map.png".as_ref())?;
/// # Ok::<(), thalweg_train::TrainedError>(())
/// ```
#[derive(Debug)]
pub struct Maps<'a> {
    trained: &'a Trained,
    method: MapMethod,
    features: Tensor,
    class: Tensor,
    heat: Tensor,
}

/// Where a model looked in a photo.
#[derive(Clone, Debug)]
pub struct Look {
    /// What it took the photo for.
    pub prediction: Prediction,
    /// The class that was looked for.
    pub class: usize,
    /// What it is called.
    pub name: String,
    /// How much each position of the feature map counts, `[height, width]`. With Grad-CAM nothing is below 0.
    pub heat: Array,
    /// The part of the photo on which the map lies.
    pub seen: Part,
    /// By which method.
    pub method: MapMethod,
}

/// The column of the class that is looked for; no data set has it.
const CLASS: &str = "class of the map";

impl Trained {
    /// Where the model looks.
    ///
    /// # Errors
    /// If it was not trained on pictures, is no classifier, has no feature map, or the method does not suit it.
    pub fn maps(&self, method: MapMethod) -> Result<Maps<'_>, TrainedError> {
        self.photos()?;
        let refuse = |reason: String| TrainedError::Model { path: self.checkpoint.path.clone(), reason };
        let output = &self.inference.output;
        if output.rank() != 2 || self.card.classes.is_empty() {
            return Err(refuse(format!("maps are of classes, and its output is {}", output.meta())));
        }
        let features = last_feature_map(output)
            .ok_or_else(|| refuse("it has no convolution, and so no feature map to look at".into()))?;
        let class = placeholder(CLASS, DType::I64, [output.size(0)]);
        let score = (output * class.one_hot(output.size(1), output.dtype())).sum();
        let gradient = try_grad(&score, &[&features]).map_err(|error| refuse(error.to_string()))?.swap_remove(0);
        let weighed = match method {
            MapMethod::GradCam => {
                let mean = gradient.mean_over([2, 3]).keep_axes([2, 3], &features);
                (&features * mean).sum_over(1).relu()
            }
            // If the score is linear in the map, its gradient does not depend on it, and their product adds up to the score.
            MapMethod::Cam if topological([&gradient]).iter().any(|tensor| tensor.id() == features.id()) => {
                let reason = "its scores are no sum over the positions of the last feature map, as average pooling and a \
                              dense layer behind it would make them: class activation maps are not defined, Grad-CAM is";
                return Err(refuse(reason.into()));
            }
            MapMethod::Cam => (&features * gradient).sum_over(1),
        };
        Ok(Maps { trained: self, method, features, class, heat: weighed })
    }
}

impl Maps<'_> {
    /// The feature map that is looked at: dtype and shape.
    pub fn features(&self) -> String {
        self.features.meta().to_string()
    }

    /// Where the model looks in `photo` for a class, counted from 0; if none is given, for that which it takes it for.
    ///
    /// # Errors
    /// If there is no such class, or the photo cannot be prepared.
    pub fn look(&self, photo: &Picture, class: Option<usize>) -> Result<Look, TrainedError> {
        let Trained { session, card, .. } = self.trained;
        let steps = self.trained.photos()?;
        let fed = one(&steps.numbers(photo.clone())?)?;
        let prediction = self.trained.classify(&fed)?.swap_remove(0);
        let class = class.unwrap_or(prediction.class);
        let Some(name) = card.classes.get(class).cloned() else {
            let reason = format!("there are {}, counted from 0", card.classes.len());
            return Err(DataError::Setting { setting: format!("class {class}"), reason }.into());
        };
        let wanted = Array::from([class as i64]);
        let heat =
            session.evaluate(&self.heat, Feeds::new().with(self.trained.input()?, &fed).with(&self.class, &wanted))?;
        let heat = heat.reshape(&heat.shape()[1..]).map_err(DataError::from)?;
        Ok(Look { prediction, class, name, heat, seen: steps.seen(photo.size()), method: self.method })
    }
}

impl Look {
    /// The map over the photo, with what it was taken for and what the colors mean ([`heat_sheet`]).
    ///
    /// # Errors
    /// If a number of the map is not finite.
    pub fn over(&self, photo: &Picture) -> Result<Picture, DataError> {
        let percent = |class: usize| format!("{:.1} %", 100.0 * self.prediction.probabilities[class]);
        let mut caption = format!("{} {}", self.prediction.name, percent(self.prediction.class));
        if self.class != self.prediction.class {
            caption += &format!(", looked for {} {}", self.name, percent(self.class));
        }
        let method = match self.method {
            MapMethod::GradCam => "Grad-CAM",
            MapMethod::Cam => "class activation map",
        };
        let (rows, columns) = (self.heat.shape()[0], self.heat.shape()[1]);
        caption += &format!("\n{method}, {rows} x {columns}");
        heat_sheet(photo, &self.heat, self.seen, &caption)
    }
}

/// The last tensor of `[row, channel, y, x]` that depends on a convolution and has more than one position.
fn last_feature_map(output: &Tensor) -> Option<Tensor> {
    let mut convolved: HashSet<TensorId> = HashSet::new();
    let mut last = None;
    for tensor in topological([output]) {
        let reads = |input: &Tensor| convolved.contains(&input.id());
        if matches!(tensor.op(), Op::Convolution(_)) || tensor.inputs().iter().any(reads) {
            convolved.insert(tensor.id());
            let is_point = tensor.rank() == 4 && tensor.size(2).is(1) && tensor.size(3).is(1);
            if tensor.rank() == 4 && !is_point {
                last = Some(tensor);
            }
        }
    }
    last
}
