//! What attention and its gradients take, as one op each and said in products and a softmax.
//!
//! ```text
//! cargo run --release -p thalweg-run --example attention_bench [-- THREADS]
//! ```
//!
//! Each figure is the best of many runs.

use std::time::{Duration, Instant};

use thalweg_graph::op::OpRules;
use thalweg_graph::{AttentionOptions, DType, Tensor, Variable, attention, grad, random_normal};
use thalweg_run::{Feeds, Session};

/// Batch, length, heads, width.
const SHAPES: [[usize; 4]; 4] = [[16, 128, 4, 64], [4, 512, 8, 64], [1, 2048, 4, 64], [64, 20, 8, 32]];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let threads = std::env::args().nth(1).map_or(Ok(1), |threads| threads.parse())?;
    let session = Session::builder().threads(threads).build()?;
    for shape in SHAPES {
        for (causal, rate) in [(false, 0.0), (true, 0.0), (true, 0.1)] {
            let x = [(); 3].map(|()| Variable::unnamed(random_normal(shape, DType::F32)));
            let [q, k, v] = x.each_ref().map(Variable::tensor);
            let fused = attention(q, k, v, &AttentionOptions::new().causal(causal).dropout(rate));
            let plain = fused.op().expand(fused.inputs()).expect("attention is a composite");
            let gradients = |y: &Tensor| grad(&(y * &random_normal(shape, DType::F32)).sum(), &[q, k, v]);
            let mut best = |fetches: Vec<Tensor>| -> Result<Duration, thalweg_run::RunError> {
                let mut best = Duration::MAX;
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_millis(1500) {
                    let start = Instant::now();
                    session.run(&fetches[..], Feeds::new())?;
                    best = best.min(start.elapsed());
                }
                Ok(best)
            };
            let times = [vec![fused.clone()], vec![plain.clone()], gradients(&fused), gradients(&plain)];
            let [fused, plain, fused_gradient, plain_gradient] = times.map(&mut best);
            println!(
                "{shape:?}{}{}: {:?} for {:?}, with gradients {:?} for {:?}",
                if causal { " causal" } else { "" },
                if rate > 0.0 { " with dropout" } else { "" },
                fused?,
                plain?,
                fused_gradient?,
                plain_gradient?
            );
        }
    }
    Ok(())
}
