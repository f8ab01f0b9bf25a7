//! What training leaves on disk, from outside.

mod abort;
mod callbacks;
mod carried;
mod changes;
mod checkpoint;
mod convolution;
mod diagnosis;
mod events;
mod fit;
mod interrupt;
mod language;
mod learner;
mod maps;
mod pictures;
mod support;
mod trained;
mod transformer;
