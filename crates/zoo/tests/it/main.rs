//! Recipes from outside.

mod recipes;
