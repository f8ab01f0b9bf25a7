//! Plans of whole programs.

mod counts;
