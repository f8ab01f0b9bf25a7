//! The program as its users meet it: what it prints, where, and with which exit code.

mod graph;
mod kill;
mod misuse;
mod predict;
mod support;
mod train;
