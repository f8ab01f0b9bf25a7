//! Data sources, splits, normalisation and the loader.
