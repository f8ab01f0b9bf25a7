//! Three lines to a trained model: data, learner, `fit_one_cycle`. Around them, what a learner says of itself.
//!
//! `cargo run --release --example learner [PICTURES]`

use std::path::{Path, PathBuf};

use thalweg::data::digits;
use thalweg::prelude::*;

fn main() -> thalweg::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "pictures".into()));
    let accuracy = learn(&folder)?;
    println!("{:.1} % of the validation set are right", 100.0 * accuracy);
    Ok(())
}

/// The digits with two hidden layers; gives the accuracy on the validation set.
fn learn(folder: &Path) -> thalweg::Result<f64> {
    let net = Init::build(1, |init| (Flatten::default(), Mlp::new(init, &[64, 128, 32, 10])));
    let data = TrainingData::split(&digits(), 0.2, 42)?.standardized()?;
    let mut learner = Learner::new(data, net)?;
    let rate = learner.find_rate()?;
    learner.fit_one_cycle(10, 1e-2)?;

    println!("a learning rate of {:.0e} was suggested", rate.suggestion);
    print!("{}", learner.summary()?);
    print!("{}", learner.diagnose()?);
    for pair in learner.most_confused(2)? {
        println!("{} of {} were taken for {}", pair.count, pair.actual, pair.predicted);
    }
    std::fs::create_dir_all(folder).map_err(thalweg::formats::FormatError::io(folder, "create the folder"))?;
    rate.plot().picture().write_png(&folder.join("learner_rate.png"))?;
    learner.show_batch(25)?.write_png(&folder.join("learner_batch.png"))?;
    learner.show_top_losses(9)?.write_png(&folder.join("learner_top_losses.png"))?;
    Ok(learner.validate()?.accuracy().unwrap_or(f64::NAN))
}

#[test]
fn it_learns() {
    let folder = tempfile::tempdir().unwrap();
    assert!(learn(folder.path()).unwrap() > 0.96);
    for name in ["learner_batch.png", "learner_top_losses.png", "learner_rate.png"] {
        assert!(folder.path().join(name).exists(), "{name}");
    }
}
