//! Recipes from outside.

mod recipes;
mod texts;
