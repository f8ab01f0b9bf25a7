//! The ops through the public interface: gradients against differences, IEEE numbers, refusals.

mod control;
mod gradients;
mod ieee;
mod passes;
mod refusals;
mod registry;
mod support;
mod text;
mod through_time;
mod ties;
