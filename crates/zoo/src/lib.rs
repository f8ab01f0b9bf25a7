//! Models and recipes, written as a user would write them.
