//! Recipes from outside.

mod recipes;
mod replies;
mod texts;
mod translations;
