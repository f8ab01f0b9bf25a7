//! Recipes from outside.

mod recipes;
mod replies;
mod spoken;
mod texts;
mod translations;
