//! Recipes from outside.

mod recipes;
mod replies;
mod resumed;
mod spoken;
mod suggestions;
mod texts;
mod translations;
mod vectors;
