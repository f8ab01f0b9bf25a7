//! What training leaves on disk, from outside.

mod abort;
mod callbacks;
mod checkpoint;
mod events;
mod fit;
mod interrupt;
mod support;
mod trained;
