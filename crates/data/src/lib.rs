//! Data: sources, splits, normalization, and the loader that cuts them into batches. Knows arrays and no graph.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`Dataset`], [`Rows`], [`Sequences`] | named columns, in memory, made row by row as needed, or of rows that differ in length |
//! | [`read_idx`], [`mnist()`], [`cifar10`], [`cifar100`], [`digits()`], [`Csv`], [`ImageFolder`] | sources |
//! | [`Picture`], [`Augment`] | pictures in color: from files, to what a model is fed, with chance in training |
//! | [`contact_sheet`], [`heat_sheet`], [`heat_table`] | a batch of images with captions on one picture; numbers laid over a picture, or as squares with names |
//! | `download`, [`cache_folder`] | sets from their public homes (feature `download`), and where they are kept |
//! | [`audio`] | WAV files, spectrograms, mel bands, cepstra |
//! | [`text`] | tokenizers, vocabularies, streams for language models, pairs |
//! | [`Split`] | by fraction, index, position, label or group; k-fold |
//! | [`Normalize`] | with the training set's statistics |
//! | [`check_labels`] | are labels class numbers? |
//! | [`image`] | grey images: shift, resize, center, as recipes and predictions need it |
//! | [`Loader`] | mini-batches for training and validation, prepared ahead on other threads; [`Random`] for its transforms |

pub mod audio;
mod augment;
mod batch;
mod cache;
mod cifar;
mod dataset;
mod digits;
#[cfg(feature = "download")]
pub mod download;
mod error;
mod fingerprint;
mod folder;
mod heat;
mod idx;
pub mod image;
mod labels;
mod loader;
mod mnist;
mod normalize;
mod parallel;
mod picture;
mod random;
mod read;
mod records;
mod resample;
mod rows;
mod sequences;
mod sheet;
mod split;
mod table;
pub mod text;
mod transform;

pub use augment::{Augment, Border, Part, Step};
pub use batch::Batch;
pub use cache::cache_folder;
pub use cifar::{Cifar, cifar10, cifar100};
pub use dataset::{Dataset, select_rows};
pub use digits::digits;
pub use error::DataError;
pub use folder::{BadFile, BadFiles, Check, FolderOptions, ImageFolder};
pub use heat::{heat_sheet, heat_table};
pub use idx::read_idx;
pub use labels::check_labels;
pub use loader::{Batches, Loader};
pub use mnist::{Mnist, mnist};
pub use normalize::{Normalize, Per};
pub use picture::{Limits, Picture, Position};
pub use random::Random;
pub use rows::Rows;
pub use sequences::Sequences;
pub use sheet::{contact_sheet, picture_sheet};
pub use split::Split;
pub use table::{Column, ColumnRef, Csv, Kind, Role, Schema, Table};
pub use transform::TransformError;
