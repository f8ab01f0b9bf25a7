//! What a model says to texts while it is trained.

use thalweg::data::DataError;
use thalweg::prelude::*;
use thalweg::train::{Function, Responder};

use super::{REPLY, SOURCE, exchange};
use crate::samples::Samples;

/// So many texts are shown.
const TEXTS: usize = 5;

/// What a model says while it is trained to some of the texts that are held out.
///
/// # Errors
/// If the data are no exchanges of texts.
pub(super) fn samples(data: &TrainingData, [encode, next]: [Function; 2]) -> Result<Samples, DataError> {
    let [source, reply] = [data.prepare().text(SOURCE)?.clone(), data.prepare().text(REPLY)?.clone()];
    let rows = data.valid().len();
    let shown = (0..TEXTS.min(rows)).map(|n| exchange(data.valid(), n * rows / TEXTS.min(rows)));
    // Texts and what is to be said to them.
    let exchanges = shown.collect::<Result<Vec<(Vec<i64>, Vec<i64>)>, _>>()?;
    Ok(Samples::new(move |moment| {
        let responder = Responder::new(moment.session, [&encode, &next], [&source, &reply]);
        let texts: Vec<Vec<i64>> = exchanges.iter().map(|(text, _)| text.clone()).collect();
        let mut lines = Vec::with_capacity(texts.len());
        for ((text, expected), said) in exchanges.iter().zip(responder.greedy(&texts)?) {
            let [text, said, expected] = [source.text(text)?, reply.text(&said)?, reply.text(expected)?];
            lines.push(format!("text      {text}\nsaid      {said}\nexpected  {expected}\n"));
        }
        Ok(lines.join("\n"))
    }))
}
