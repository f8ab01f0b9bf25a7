//! Saving and going on.

use thalweg_run::graph::{Array, DType, Update, Variable, random_uniform};
use thalweg_run::{RunError, Session, feeds};

fn model() -> (Variable, Variable, [Update; 2]) {
    let w = Variable::new("w", random_uniform([4], DType::F32));
    let slot = Variable::new("w/slot", 0.0);
    let updates = [w.assign(&(&*w + random_uniform([4], DType::F32))), slot.assign(&(&*slot + 1.0))];
    (w, slot, updates)
}

#[test]
fn a_session_goes_on_with_the_same_bits() {
    let (w, _, step) = model();
    let session = Session::builder().seed(5).build().unwrap();
    session.run(&step, feeds! {}).unwrap();
    let state = session.state().unwrap();
    session.run(&step, feeds! {}).unwrap();
    let expected = session.read(&w).unwrap();

    let (w, slot, step) = model();
    let resumed = Session::cpu();
    resumed.meet(&step).unwrap();
    resumed.load_state(&state).unwrap();
    assert_eq!((resumed.seed(), resumed.step()), (5, 1));
    resumed.run(&step, feeds! {}).unwrap();
    assert_eq!(resumed.read(&w).unwrap(), expected);
    assert_eq!(resumed.read(&slot).unwrap().item().unwrap(), 2.0);
}

#[test]
fn a_state_that_does_not_fit_is_refused_whole() {
    let (w, _, step) = model();
    let session = Session::cpu();
    session.run(&step, feeds! {}).unwrap();
    let before = session.state().unwrap();
    let mut other = before.clone();
    other.step = 9;
    other.variables.insert("w".into(), Array::from([1.0f32; 3]));
    other.variables.remove("w/slot");
    other.variables.insert("old".into(), Array::from(1.0f32));
    let error = session.load_state(&other).unwrap_err();
    let message = error.to_string();
    for part in ["missing: `w/slot`", "unexpected: `old`", "`w` is f32[4], the state has f32[3]", "nothing was loaded"]
    {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    assert!(matches!(error, RunError::State(differences) if differences.missing == ["w/slot"]));
    assert_eq!(session.state().unwrap(), before);
    assert_eq!(session.read(&w).unwrap(), before.variables["w"]);
}
