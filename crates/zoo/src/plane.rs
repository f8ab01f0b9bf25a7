//! [`plane`]: many numbers as two.

/// The directions are found in so many rounds of the power method.
const ROUNDS: usize = 100;

/// Rows on the first two principal components: in the plane in which they lie farthest apart.
pub(crate) fn plane(rows: &[&[f32]]) -> Vec<(f64, f64)> {
    let size = rows.first().map_or(0, |row| row.len());
    let mean = |at: usize| rows.iter().map(|row| f64::from(row[at])).sum::<f64>() / rows.len() as f64;
    let center: Vec<f64> = (0..size).map(mean).collect();
    let centered = |row: &&[f32]| row.iter().zip(&center).map(|(x, mean)| f64::from(*x) - mean).collect();
    let rows: Vec<Vec<f64>> = rows.iter().map(centered).collect();
    let first = direction(&rows, size, None);
    let second = direction(&rows, size, Some(&first));
    rows.iter().map(|row| (dot(row, &first), dot(row, &second))).collect()
}

/// Along which the rows vary most, of those at a right angle to another.
fn direction(rows: &[Vec<f64>], size: usize, other: Option<&[f64]>) -> Vec<f64> {
    let mut direction: Vec<f64> = (0..size).map(|at| 1.0 / (at + 1) as f64).collect();
    for _ in 0..ROUNDS {
        let mut next = vec![0.0; size];
        for row in rows {
            let along = dot(row, &direction);
            next.iter_mut().zip(row).for_each(|(next, x)| *next += along * x);
        }
        if let Some(other) = other {
            let along = dot(&next, other);
            next.iter_mut().zip(other).for_each(|(next, x)| *next -= along * x);
        }
        let length = dot(&next, &next).sqrt().max(f64::MIN_POSITIVE);
        direction = next.into_iter().map(|x| x / length).collect();
    }
    direction
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_most_comes_first() {
        let rows: Vec<Vec<f32>> = (0..20)
            .map(|row| {
                let (long, short) = ((row as f32).sin() * 5.0, (row as f32).cos());
                vec![7.0 + 0.6 * long + 0.8 * short, 2.0, 0.8 * long - 0.6 * short]
            })
            .collect();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let points = plane(&rows);
        let spread = |of: fn(&(f64, f64)) -> f64| points.iter().map(|point| of(point).powi(2)).sum::<f64>();
        assert!(spread(|point| point.0) > 10.0 * spread(|point| point.1));
        // Nothing is lost of what lies in a plane.
        let apart = |a: usize, b: usize| (points[a].0 - points[b].0).hypot(points[a].1 - points[b].1);
        let before = |a: usize, b: usize| rows[a].iter().zip(rows[b]).map(|(x, y)| (x - y).powi(2)).sum::<f32>().sqrt();
        assert!((apart(3, 11) - f64::from(before(3, 11))).abs() < 1e-3);
        assert_eq!(plane(&[]), []);
        assert_eq!(plane(&[&[1.0, 2.0]]), [(0.0, 0.0)]);
    }
}
