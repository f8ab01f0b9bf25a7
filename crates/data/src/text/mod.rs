//! Text: from files to what a model is fed, and back.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`windows`] | a text as one stream, for language models: lanes that go on from batch to batch |

mod stream;

pub use stream::windows;
