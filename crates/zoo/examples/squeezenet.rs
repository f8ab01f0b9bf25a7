//! The published SqueezeNet as a run, so that `thalweg predict` and `thalweg maps` can be asked about its thousand classes:
//!
//! ```sh
//! cargo run --release -p thalweg-zoo --example squeezenet -- squeezenet_v1.1_f16.safetensors synset_words.txt runs/squeezenet
//! thalweg maps runs/squeezenet cat.jpg --method cam --out maps
//! ```
//!
//! The first file holds the weights of the Caffe net under the names of its layers, the second the names of the classes, one
//! a line, as ImageNet's `synset_words.txt`.

use std::path::PathBuf;

use thalweg::formats::weights;
use thalweg::prelude::*;
use thalweg::train::Prepare;
use thalweg::train::trained::export;
use thalweg::train::weights::{Match, load_weights};
use thalweg_zoo::vision::squeezenet::{self, SqueezeNet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [weights, names, run] = &arguments[..] else {
        return Err("usage: squeezenet WEIGHTS NAMES RUN".into());
    };
    // A name is what stands behind the number of the synset, up to the first of its synonyms.
    let names = std::fs::read_to_string(names)?;
    let name = |line: &str| {
        line.split_once(' ').map_or(line, |(_, names)| names).split(',').next().unwrap_or(line).to_string()
    };
    let classes: Vec<String> = names.lines().map(name).collect();

    let net = Init::build(1, |init| SqueezeNet::new(init, classes.len()));
    let session = Session::cpu();
    load_weights(&session, &net, squeezenet::from_caffe(weights::read(weights)?.tensors)?, Match::Exact)?;

    let image = placeholder("image", f32, ("batch", 3, 227, 227));
    let output = net.forward(&image, &mut Forward::infer());
    let loss = cross_entropy(&output, &placeholder("label", i64, ["batch"]));
    let model = Inference::new(loss, output).labeled("label");
    let pictures = Augment::new().resize(227, 227).normalize(squeezenet::normalization())?;
    let prepare = Prepare { pictures: Some(pictures), ..Prepare::default() };
    println!("{}", export(run, &session, &model, &classes, prepare)?.display());
    Ok(())
}
