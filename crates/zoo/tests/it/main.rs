//! Recipes from outside.

mod recipes;
mod replies;
mod spoken;
mod suggestions;
mod texts;
mod translations;
mod vectors;
