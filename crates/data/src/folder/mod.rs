//! A folder of images as a data set: one folder for each class, or pictures alone.

mod entry;
#[cfg(test)]
mod tests;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_array::Array;

use crate::augment::{Augment, PictureRows, Source};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::parallel::{default_workers, map};
use crate::picture::{Limits, Picture};

pub(crate) use entry::Entry;

/// Pictures in files. A folder that holds folders has a class for each, in the order of their names, and the pictures
/// of a class anywhere below; a folder without folders has pictures without classes, as for prediction. Files are in
/// the order of their names; those whose names do not end as those of pictures do (jpg, jpeg, png, gif, bmp, webp) or
/// begin with a dot do not count.
///
/// Opening reads and decodes each picture once, on all cores, so that all that is wrong is known before training begins
/// and rows do not change later ([`FolderOptions`] has other choices). They are not kept: each batch reads its own, on
/// the loader's threads.
///
/// ```no_run
/// use thalweg_data::{Augment, ImageFolder, Loader, Normalize, Split};
///
/// let flowers = ImageFolder::open("flowers")?;
/// let augment = Augment::new().random_resized_crop(224, 224).flip().normalize(Normalize::imagenet())?;
/// let data = flowers.dataset(&augment)?;
/// let (train, valid) = data.split(&Split::stratified("label", &data["label"], 0.2, 42)?);
///
/// for batch in Loader::new(&train, 32)?.training(42).epoch(0)? {
///     let batch = batch?;
///     assert_eq!(batch["image"].shape(), [batch.len(), 3, 224, 224]);
/// }
/// for batch in Loader::new(&valid, 32)?.epoch(0)? {
///     // In order, nothing left to chance.
/// }
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageFolder {
    root: PathBuf,
    entries: Arc<[Entry]>,
    classes: Vec<String>,
    skipped: Vec<BadFile>,
    /// Of all pictures, if it is the same and known.
    size: Option<(usize, usize)>,
    limits: Limits,
}

/// How an [`ImageFolder`] is opened.
///
/// ```no_run
/// use thalweg_data::{BadFiles, FolderOptions};
///
/// let pets = FolderOptions { bad: BadFiles::Skip, ..FolderOptions::default() }.open("pets")?;
/// for bad in pets.skipped() {
///     println!("{bad}");
/// }
/// # Ok::<(), thalweg_data::DataError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct FolderOptions {
    /// What a bad file does.
    pub bad: BadFiles,
    /// How closely files are looked at.
    pub check: Check,
    /// What a picture may ask for.
    pub limits: Limits,
}

/// What a file does that is no picture, damaged, unreadable or beyond the limits; likewise a link that leads back to
/// where it is, a name that differs from another only in case, a picture beside the class folders and a class without
/// pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadFiles {
    /// The folder is not opened; the error names the first.
    #[default]
    Stop,
    /// It is left out and listed with the reason ([`ImageFolder::skipped`]). A class without pictures keeps its number.
    Skip,
}

/// How closely files are looked at when a folder is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// Each is decoded, which takes as long as an epoch of reading. A file that changes later is found out when it is
    /// read.
    #[default]
    Decode,
    /// Only that they are there and within the limits: for sets with so many pictures that the other takes too long. A
    /// bad picture ends the training that comes upon it; of one that changes later only another length is found out.
    Presence,
}

/// A file or folder that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFile {
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it; the sentence goes on from its name.
    pub reason: String,
}

impl std::fmt::Display for BadFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.path.display(), self.reason)
    }
}

impl FolderOptions {
    /// The pictures of the folder at `path`.
    ///
    /// # Errors
    /// If it is no folder that can be read, something in it is bad and not to be skipped, two classes differ only in
    /// case, or there are no pictures.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<ImageFolder, DataError> {
        let root = path.as_ref().to_path_buf();
        let walk::Found { classes, candidates, mut bad } = walk::find(&root)?;
        let checked =
            map(&candidates, default_workers(), |candidate| Entry::check(candidate, self.check, &self.limits));
        let (mut entries, mut sizes) = (Vec::new(), Vec::new());
        for (candidate, checked) in candidates.into_iter().zip(checked) {
            match checked {
                Ok((entry, size)) => {
                    entries.push(entry);
                    sizes.push(size);
                }
                Err(reason) => bad.push(BadFile { path: candidate.path, reason }),
            }
        }
        let mut empty = vec![true; classes.len().max(1)];
        entries.iter().for_each(|entry| empty[entry.label as usize] = false);
        for (name, empty) in classes.iter().zip(empty) {
            if empty {
                bad.push(BadFile { path: root.join(name), reason: "holds no pictures of its class".into() });
            }
        }
        bad.sort_by(|a, b| a.path.cmp(&b.path));
        if self.bad == BadFiles::Stop
            && let Some(first) = bad.first()
        {
            let more = if bad.len() == 1 { String::new() } else { format!("; {} more are bad", bad.len() - 1) };
            let reason = format!("{}{more} (`BadFiles::Skip` leaves bad files out)", first.reason);
            return Err(DataError::File { path: first.path.clone(), reason });
        }
        if entries.is_empty() {
            let of = if bad.is_empty() {
                String::new()
            } else {
                format!(" that can be used: {} are bad, the first: {}", bad.len(), bad[0])
            };
            return Err(DataError::File {
                path: root,
                reason: format!("holds no pictures (jpg, png, gif, bmp, webp){of}"),
            });
        }
        let size = sizes[0].filter(|_| sizes.iter().all(|size| *size == sizes[0]));
        Ok(ImageFolder { root, entries: entries.into(), classes, skipped: bad, size, limits: self.limits.clone() })
    }
}

impl ImageFolder {
    /// The pictures of the folder at `path`, all of which must be good.
    ///
    /// # Errors
    /// As [`FolderOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<ImageFolder, DataError> {
        FolderOptions::default().open(path)
    }

    /// The number of pictures.
    #[allow(clippy::len_without_is_empty, reason = "a folder without pictures is refused")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The names of the classes 0, 1, 2, …: those of their folders. None if the pictures have no classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What was left out, in the order of the paths.
    pub fn skipped(&self) -> &[BadFile] {
        &self.skipped
    }

    /// The path of the picture in row `row` (of all; the column `file` of a data set says which it is).
    ///
    /// # Panics
    /// If there is no such row.
    #[track_caller]
    pub fn path(&self, row: usize) -> &Path {
        &self.entries[row].path
    }

    /// The path of the picture in row `row` within the folder, with `/` between its parts.
    ///
    /// # Panics
    /// If there is no such row.
    #[track_caller]
    pub fn name(&self, row: usize) -> &str {
        &self.entries[row].name
    }

    /// The picture in row `row`, as it is in its file.
    ///
    /// # Errors
    /// If it can no longer be read, or has changed.
    ///
    /// # Panics
    /// If there is no such row.
    #[track_caller]
    pub fn picture(&self, row: usize) -> Result<Picture, DataError> {
        self.entries[row].read(&self.limits)
    }

    /// A number for each picture, the same for those of whose [names](ImageFolder::name) `key` makes the same: pictures
    /// of one patient, or one camera, to be [held out together](crate::Split::grouped).
    pub fn groups<K: Ord>(&self, key: impl Fn(&str) -> K) -> Array {
        let keys: Vec<K> = self.entries.iter().map(|entry| key(&entry.name)).collect();
        let mut known: Vec<&K> = keys.iter().collect();
        known.sort();
        known.dedup();
        Array::from(keys.iter().map(|key| known.partition_point(|known| *known < key) as i64).collect::<Vec<_>>())
    }

    /// The rows that hold the same file as another, together; found where files are [decoded](Check::Decode) when the
    /// folder is opened.
    pub fn duplicates(&self) -> Vec<Vec<usize>> {
        let mut rows_of = std::collections::BTreeMap::new();
        for (row, entry) in self.entries.iter().enumerate() {
            if let Some(digest) = entry.digest {
                rows_of.entry(digest).or_insert_with(Vec::new).push(row);
            }
        }
        let mut duplicates: Vec<_> = rows_of.into_values().filter(|rows| rows.len() > 1).collect();
        duplicates.sort();
        duplicates
    }

    /// A data set of the columns `image`, f32 `[n, 3, height, width]`, made by `augment` when a batch needs it;
    /// `label`, i64 `[n]`, if there are classes; and `file`, i64 `[n]`, the row of this folder.
    ///
    /// # Errors
    /// If the pictures, prepared so, would differ in size, or `augment` has settings that no picture can follow.
    pub fn dataset(&self, augment: &Augment) -> Result<Dataset, DataError> {
        let source = Source::Files { entries: self.entries.clone(), limits: self.limits.clone() };
        let mut data = Dataset::of_rows("image", PictureRows::new(source, self.size, augment)?)?;
        if !self.classes.is_empty() {
            let labels: Vec<i64> = self.entries.iter().map(|entry| entry.label).collect();
            data = data.with_column("label", Array::from(labels))?;
        }
        let files: Vec<i64> = (0..self.len() as i64).collect();
        Ok(data.with_column("file", Array::from(files))?.with_classes(self.classes.clone()))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }
}
