//! Name scopes: where in the model a node was made.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::sync::Arc;

thread_local! {
    static SCOPE: RefCell<Arc<str>> = RefCell::new("".into());
    static ORIGIN: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
}

/// Runs `body` with `name` added to the path that new nodes carry.
///
/// ```
/// use thalweg_graph::{current_scope, scope};
/// let path = scope("encoder", || scope("dense1", current_scope));
/// assert_eq!(&*path, "encoder/dense1");
/// ```
pub fn scope<T>(name: &str, body: impl FnOnce() -> T) -> T {
    /// Puts the outer path back, also when the body panics.
    struct Restore(Arc<str>);
    impl Drop for Restore {
        fn drop(&mut self) {
            SCOPE.with_borrow_mut(|scope| *scope = self.0.clone());
        }
    }
    let outer = current_scope();
    let inner = if outer.is_empty() { name.into() } else { format!("{outer}/{name}").into() };
    SCOPE.with_borrow_mut(|scope| *scope = inner);
    let _restore = Restore(outer);
    body()
}

/// The path that new nodes carry: `encoder/dense1`, empty outside all scopes.
pub fn current_scope() -> Arc<str> {
    SCOPE.with_borrow(|scope| scope.clone())
}

/// Runs `body` in the current path followed by `path`: gradients carry the scopes of what they are gradients of
/// (`grad/dense1`).
pub(crate) fn inside<T>(path: &str, body: impl FnOnce() -> T) -> T {
    if path.is_empty() { body() } else { scope(path, body) }
}

/// Runs `body` with new nodes said to be made at `location`: a gradient is blamed on the line of what it is the gradient
/// of, not on the rule's; an optimizer's nodes on the line that asked for a training step.
pub fn on_behalf_of<T>(location: &'static Location<'static>, body: impl FnOnce() -> T) -> T {
    /// Puts the outer location back, also when the body panics.
    struct Restore(Option<&'static Location<'static>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ORIGIN.set(self.0);
        }
    }
    let _restore = Restore(ORIGIN.replace(Some(location)));
    body()
}

/// Where a node made by `caller` is said to be made.
pub(crate) fn blamed(caller: &'static Location<'static>) -> &'static Location<'static> {
    ORIGIN.get().unwrap_or(caller)
}
