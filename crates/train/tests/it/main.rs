//! What training leaves on disk, from outside.

mod abort;
mod checkpoint;
mod events;
mod fit;
mod interrupt;
mod support;
mod trained;
