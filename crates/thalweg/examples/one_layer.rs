//! One layer: least squares, logistic regression, the linear support vector machine and the perceptron are the same
//! network, x W + b, under four losses; scikit-learn solves the same problems its own way.
//!
//! `cargo run --release --example one_layer -- --data FOLDER`
//!
//! The folder holds the tables of scikit-learn's package (`sklearn/datasets/data`): `diabetes_data_raw.csv.gz`,
//! `diabetes_target.csv.gz`, `breast_cancer.csv`, `digits.csv.gz`. Of each, rows whose number % 5 is 4 are the test
//! set, and features are standardized with the mean and deviation of the rest. `theirs` is what scikit-learn 1.9.1
//! reaches on the same test rows, got by:
//!
//! ```python
//! import numpy as np
//! from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron
//! from sklearn.metrics import hinge_loss, log_loss, root_mean_squared_error
//! from sklearn.preprocessing import StandardScaler
//! from sklearn.svm import SVC
//!
//! def split(x, y):
//!     test = np.arange(len(x)) % 5 == 4
//!     scaler = StandardScaler().fit(x[~test])
//!     return scaler.transform(x[~test]), y[~test], scaler.transform(x[test]), y[test]
//!
//! x, y, x_test, y_test = split(np.loadtxt("diabetes_data_raw.csv.gz"), np.loadtxt("diabetes_target.csv.gz"))
//! print("diabetes", root_mean_squared_error(y_test, LinearRegression().fit(x, y).predict(x_test)))
//!
//! table = np.loadtxt("digits.csv.gz", delimiter=",")
//! x, y, x_test, y_test = split(table[:, :-1], table[:, -1])
//! model = LogisticRegression(tol=1e-8, max_iter=10000).fit(x, y)
//! print("digits", model.score(x_test, y_test), log_loss(y_test, model.predict_proba(x_test)))
//!
//! table = np.loadtxt("breast_cancer.csv", delimiter=",", skiprows=1)
//! x, y, x_test, y_test = split(table[:, :-1], table[:, -1])
//! model = LogisticRegression(tol=1e-8, max_iter=10000).fit(x, y)
//! print("logistic", model.score(x_test, y_test), log_loss(y_test, model.predict_proba(x_test)))
//! model = SVC(kernel="linear", tol=1e-6).fit(x, y)
//! print("svm", model.score(x_test, y_test), hinge_loss(y_test, model.decision_function(x_test)))
//! models = [Perceptron(tol=None, max_iter=10, random_state=seed).fit(x, y) for seed in range(1000)]
//! print("perceptron", np.mean([model.score(x_test, y_test) for model in models]))
//! ```

use std::path::Path;

use thalweg::data::Csv;
use thalweg::nn::binary_cross_entropy_with_logits;
use thalweg::nn::loss::{Perceptron, hinge};
use thalweg::prelude::*;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = match &arguments[..] {
        [flag, folder] if flag == "--data" => Path::new(folder),
        _ => {
            eprintln!(
                "usage: one_layer --data FOLDER, which holds the tables of scikit-learn's package: sklearn/datasets/data"
            );
            std::process::exit(2);
        }
    };
    println!("{:56}  {:>8}  {:>12}", "on the test rows", "Thalweg", "scikit-learn");
    for Comparison { what, ours, theirs } in compare(folder)? {
        println!("{what:56}  {ours:8.4}  {theirs:12.4}");
    }
    Ok(())
}

/// A figure on the test rows.
struct Comparison {
    what: &'static str,
    ours: f64,
    theirs: f64,
}

fn compare(folder: &Path) -> Result<Vec<Comparison>> {
    let mut comparisons = Vec::new();
    let mut add = |what, ours, theirs| comparisons.push(Comparison { what, ours, theirs });

    let diabetes = Table::diabetes(folder)?;
    let least_squares = OneLayer::new(&diabetes, 1, squared_error).solve(1.0, 0.0)?;
    add("least squares, diabetes: root mean squared error", least_squares.loss.sqrt(), 57.2639);

    let digits = Table::digits(folder)?;
    let logistic = OneLayer::new(&digits, 10, cross_entropy).solve(0.05, digits.penalty())?;
    add("logistic regression, digits: accuracy", logistic.accuracy, 0.9638);
    add("logistic regression, digits: cross-entropy", logistic.loss, 0.1166);

    let cancer = Table::cancer(folder)?;
    let logistic = OneLayer::new(&cancer, 1, binary_cross_entropy_with_logits).solve(0.05, cancer.penalty())?;
    add("logistic regression, breast cancer: accuracy", logistic.accuracy, 1.0);
    add("logistic regression, breast cancer: cross-entropy", logistic.loss, 0.04208);

    let svm = OneLayer::new(&cancer, 1, |score, yes| hinge(score, &sign(yes))).solve(0.05, cancer.penalty())?;
    add("linear SVM, breast cancer: accuracy", svm.accuracy, 0.9823);
    add("linear SVM, breast cancer: hinge loss", svm.loss, 0.05839);

    // What a perceptron ends with depends on the order of its rows: hence the mean over many orders.
    const ORDERS: u64 = 60;
    let perceptron = OneLayer::new(&cancer, 1, |score, yes| Perceptron.mean(score, &sign(yes)));
    let accuracies =
        (0..ORDERS).map(|order| Ok(perceptron.row_by_row(order)?.accuracy)).collect::<Result<Vec<f64>>>()?;
    add("perceptron, breast cancer: mean accuracy", accuracies.iter().sum::<f64>() / ORDERS as f64, 0.9801);
    Ok(comparisons)
}

/// 0 and 1 as −1 and 1.
fn sign(yes: &Tensor) -> Tensor {
    2.0 * yes - 1.0
}

/// Standardized `features` and what is to be learned of them, `target`.
struct Table {
    train: Dataset,
    test: Dataset,
}

impl Table {
    fn new(features: &Array, target: &Array) -> Result<Table> {
        let data = Dataset::new([("features", features.clone()), ("target", target.clone())])?;
        let (train, test) = data.split(&Split::by_index(data.len(), |row| row % 5 == 4)?);
        let normalize = Normalize::standard("features", &train["features"], Per::Feature)?;
        let standardized = |data: Dataset| data.map("features", |features| normalize.apply("features", features));
        Ok(Table { train: standardized(train)?, test: standardized(test)? })
    }

    /// 442 patients, 10 measurements; the progression of their diabetes a year later.
    fn diabetes(folder: &Path) -> Result<Table> {
        let csv = Csv::new().without_header().separator(b' ');
        let features = csv.read(folder.join("diabetes_data_raw.csv.gz"))?.dataset()?;
        let target = csv.read(folder.join("diabetes_target.csv.gz"))?;
        Table::new(&features["features"], target.column("c0")?)
    }

    /// 569 tumors, 30 measurements of their cells; whether they are benign.
    fn cancer(folder: &Path) -> Result<Table> {
        let csv = Csv::new().skip_lines(1).without_header().value(30);
        let data = csv.read(folder.join("breast_cancer.csv"))?.dataset()?;
        Table::new(&data["features"], &data["target"])
    }

    /// 1,797 handwritten digits of 64 pixels.
    fn digits(folder: &Path) -> Result<Table> {
        let csv = Csv::new().without_header().class(64);
        let data = csv.read(folder.join("digits.csv.gz"))?.dataset()?;
        Table::new(&data["features"], &data["label"])
    }

    /// scikit-learn's C = 1: the losses of all rows + ½ Σ w², divided by the number of rows.
    fn penalty(&self) -> f64 {
        1.0 / self.train.len() as f64
    }
}

/// x W + b and a loss.
struct OneLayer<'a> {
    table: &'a Table,
    loss: Tensor,
    accuracy: Tensor,
}

/// On the test rows.
struct Measured {
    loss: f64,
    accuracy: f64,
}

impl OneLayer<'_> {
    fn new(table: &Table, n_outputs: usize, loss: impl Fn(&Tensor, &Tensor) -> Tensor) -> OneLayer<'_> {
        let (features, target) = (&table.train["features"], &table.train["target"]);
        let n_features = features.shape()[1];
        let layer = Init::build(0, |init| Linear::new(init, n_features, n_outputs));
        let x = placeholder("features", f32, ("rows", n_features));
        let y = placeholder("target", target.dtype(), ["rows"]);
        let output = layer.forward(&x, &mut Forward::train());
        // One output says yes where it is above 0; of several, the largest says which.
        let (output, answer) = match n_outputs {
            1 => (output.squeeze(-1), output.squeeze(-1).greater(0.0).cast(f32)),
            _ => (output.clone(), output.argmax(-1).cast(f32)),
        };
        OneLayer { table, loss: loss(&output, &y), accuracy: answer.equal(y.cast(f32)).cast(f32).mean() }
    }

    /// The weights of the smallest loss on all training rows, which lie where the gradient is 0.
    fn solve(&self, lr: f64, penalty: f64) -> Result<Measured> {
        const STEPS: u64 = 3000;
        let step = Adam::new(Schedule::cosine(lr, STEPS)).weight_decay(penalty).minimize(&self.loss);
        let session = Session::cpu();
        let Table { train, .. } = self.table;
        for _ in 0..STEPS {
            session.run(&step, feeds! { "features" => &train["features"], "target" => &train["target"] })?;
        }
        self.measure(&session)
    }

    /// Rosenblatt's way: row after row, all of them ten times, each time in another random order.
    fn row_by_row(&self, seed: u64) -> Result<Measured> {
        let step = Sgd::new(1.0).minimize(&self.loss);
        let session = Session::builder().threads(1).build()?;
        let Table { train, .. } = self.table;
        let loader = Loader::new(train, 1)?.seed(seed).shuffled();
        let (features, targets) = (train["features"].as_slice::<f32>()?, train["target"].as_slice::<f32>()?);
        let width = features.len() / targets.len();
        for row in (0..10).flat_map(|epoch| loader.order(epoch)) {
            let features = &features[row * width..][..width];
            session.run(&step, feeds! { "features" => features, "target" => &targets[row..=row] })?;
        }
        self.measure(&session)
    }

    fn measure(&self, session: &Session) -> Result<Measured> {
        let Table { test, .. } = self.table;
        let feeds = feeds! { "features" => &test["features"], "target" => &test["target"] };
        let (loss, accuracy) = session.run((&self.loss, &self.accuracy), feeds)?;
        Ok(Measured { loss: loss.item()?, accuracy: accuracy.item()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_one_percent_of_scikit_learn() {
        let Some(data) = std::env::var_os("THALWEG_DATA") else {
            eprintln!("skipped: THALWEG_DATA names no folder with sklearn/ in it");
            return;
        };
        for Comparison { what, ours, theirs } in compare(&Path::new(&data).join("sklearn")).unwrap() {
            assert!((ours - theirs).abs() <= 0.01 * theirs, "{what}: {ours}, scikit-learn {theirs}");
        }
    }
}
