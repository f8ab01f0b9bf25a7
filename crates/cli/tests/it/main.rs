//! The program as its users meet it: what it prints, where, and with which exit code.

mod bench;
mod graph;
mod images;
mod kill;
mod look;
mod misuse;
mod predict;
mod sounds;
mod suggestions;
mod support;
mod texts;
mod train;
mod translations;
mod vectors;
