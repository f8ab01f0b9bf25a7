//! [`Ears`]: convolutions over time and pitch.

use thalweg::prelude::*;

/// Convolutions of 3 x 3 over time and pitch, each followed by batch norm, ReLU and the largest of 2 x 2, so that n of them leave
/// a frame of 2ⁿ. What a voice does a little lower or slower looks alike to them.
#[derive(Debug, Module)]
pub(super) struct Ears {
    blocks: Vec<Block>,
    #[module(skip)]
    features: usize,
    #[module(skip)]
    silence: f64,
}

#[derive(Debug, Module)]
struct Block {
    conv: Conv2d,
    norm: BatchNorm,
}

/// Frames `[rows, time, features]` and how many of each row are no padding.
pub(super) struct Heard {
    pub(super) frames: Tensor,
    pub(super) lengths: Tensor,
}

impl Ears {
    /// For frames of so many bands that hold `silence` where nothing is heard.
    pub(super) fn new(init: &mut Init, bands: usize, channels: &[usize], silence: f64) -> Ears {
        let inputs = [&[1], channels].concat();
        let block = |pair: &[usize]| Block {
            conv: ConvConfig::new(pair[0], pair[1], [3, 3]).padding(1).without_bias().build(init),
            norm: BatchNorm::new(init, pair[1]),
        };
        let blocks: Vec<Block> = inputs.windows(2).map(block).collect();
        let features = inputs[channels.len()] * (bands >> channels.len());
        Ears { blocks, features, silence }
    }

    /// The numbers of a frame that is heard.
    pub(super) fn features(&self) -> usize {
        self.features
    }

    /// `[rows, time, bands]` of so many frames each.
    pub(super) fn hear(&self, sound: &Tensor, lengths: &Tensor, cx: &mut Forward) -> Heard {
        // A frame that is left over is heard too.
        let left_over = (1 << self.blocks.len()) - 1;
        let mut x = sound.pad(1, 0, left_over, self.silence).unsqueeze(1);
        for Block { conv, norm } in &self.blocks {
            x = norm.forward(&conv.forward(&x, cx), cx).relu().max_pool(&Pool::new([2, 2]));
        }
        Heard { frames: x.swap_axes(1, 2).flatten(2), lengths: (lengths + left_over as i64) / (left_over as i64 + 1) }
    }
}

impl Heard {
    /// Where `[rows, time]` no padding is.
    pub(super) fn mask(&self) -> Tensor {
        let [rows, time] = [0, 1].map(|axis| self.frames.size(axis));
        iota([rows, time], 1, i64).less(self.lengths.unsqueeze(1))
    }
}
