//! Sound at another rate.

use std::f64::consts::PI;

/// `samples` at `to`/`from` times their rate: a low-pass filter (windowed sinc, Kaiser's window with β = 5) at every
/// place where a new sample stands, which is SciPy's `resample_poly`.
///
/// Neither rate is 0.
pub(super) fn resample(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
    let (up, down) = ratio(from, to);
    if up == down {
        return samples.to_vec();
    }
    let half = 10 * up.max(down);
    let filter = low_pass(half, up.max(down), up as f64);
    let length = (samples.len() * up).div_ceil(down);
    let sample = |at: usize| {
        // New sample `at` stands at `at·down` of a grid on which the old ones stand at multiples of `up`.
        let center = at * down;
        let first = center.saturating_sub(half).div_ceil(up);
        let last = ((center + half) / up).min(samples.len() - 1);
        let taps = (first..=last).map(|k| samples[k] as f64 * filter[center + half - k * up]);
        taps.sum::<f64>() as f32
    };
    (0..length).map(sample).collect()
}

/// A filter of 2·`half` + 1 taps that lets through frequencies below 1/`rate` of half the grid's and has the sum
/// `gain`.
fn low_pass(half: usize, rate: usize, gain: f64) -> Vec<f64> {
    const BETA: f64 = 5.0;
    let tap = |n: usize| {
        let x = n as f64 - half as f64;
        let y = x / rate as f64;
        let sinc = if y == 0.0 { 1.0 } else { (PI * y).sin() / (PI * y) };
        sinc * bessel_i0(BETA * (1.0 - (x / half as f64).powi(2)).sqrt())
    };
    let taps: Vec<f64> = (0..=2 * half).map(tap).collect();
    let sum: f64 = taps.iter().sum();
    taps.into_iter().map(|tap| tap * gain / sum).collect()
}

/// The modified Bessel function of order 0: Σ ((x/2)ᵏ/k!)².
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..50 {
        term *= x / 2.0 / k as f64;
        sum += term * term;
    }
    sum
}

/// `to`/`from` in lowest terms.
pub(super) fn ratio(from: u32, to: u32) -> (usize, usize) {
    let divisor = gcd(from, to);
    ((to / divisor) as usize, (from / divisor) as usize)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_keeps_its_pitch() {
        let tone = |rate: u32, n: usize| -> Vec<f32> {
            (0..n).map(|at| (2.0 * PI * 440.0 * at as f64 / rate as f64).sin() as f32).collect()
        };
        for (from, to) in [(8000, 16_000), (16_000, 8000), (44_100, 16_000), (8000, 8000)] {
            let there = resample(&tone(from, from as usize / 2), from, to);
            assert_eq!(there.len(), to as usize / 2);
            // The ends ring, as silence surrounds them.
            for (at, (a, b)) in
                there.iter().zip(tone(to, to as usize / 2)).enumerate().skip(200).take(to as usize / 2 - 400)
            {
                assert!((a - b).abs() < 2e-3, "{from} {to} {at}: {a} {b}");
            }
        }
        assert!(resample(&[], 8000, 16_000).is_empty());
    }

    #[test]
    fn what_the_new_rate_cannot_hold_is_left_out() {
        let high: Vec<f32> = (0..8000).map(|at| (PI * 0.9 * at as f64).sin() as f32).collect();
        let low = resample(&high, 16_000, 8000);
        assert!(low[100..3900].iter().all(|x| x.abs() < 0.01));
    }
}
