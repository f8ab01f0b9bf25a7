//! Which files of a folder are pictures, and of which class.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::BadFile;
use crate::error::DataError;

/// How the names of pictures end.
const ENDINGS: [&str; 6] = ["jpg", "jpeg", "png", "gif", "bmp", "webp"];

/// A file that should be a picture.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) label: i64,
}

/// What a folder holds.
pub(super) struct Found {
    pub(super) classes: Vec<String>,
    /// In the order of the classes, then of the paths.
    pub(super) candidates: Vec<Candidate>,
    pub(super) bad: Vec<BadFile>,
}

pub(super) fn find(root: &Path) -> Result<Found, DataError> {
    let refuse = |path: &Path, reason: String| DataError::File { path: path.to_path_buf(), reason };
    let unreadable = |error: String| refuse(root, format!("is no folder that can be read: {error}"));
    let own = fs::canonicalize(root).map_err(|error| unreadable(error.to_string()))?;
    let Listing { files, folders, mut bad } = Listing::read(root).map_err(unreadable)?;
    let mut candidates = Vec::new();
    if folders.is_empty() {
        add(root, files, 0, &mut candidates, &mut bad);
        return Ok(Found { classes: Vec::new(), candidates, bad });
    }
    let loose = files.into_iter().map(|path| BadFile { path, reason: "lies beside the folders of the classes".into() });
    bad.extend(loose);
    let mut classes = Vec::new();
    let mut known: BTreeMap<String, &Path> = BTreeMap::new();
    for folder in &folders {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else {
            return Err(refuse(folder, "has a name that is not UTF-8; it should be the name of a class".into()));
        };
        if let Some(other) = known.insert(name.to_lowercase(), folder) {
            let reason = format!("differs from {} only in case: are they one class or two?", other.display());
            return Err(refuse(folder, reason));
        }
        let (label, mut files) = (classes.len() as i64, Vec::new());
        classes.push(name.to_string());
        descend(folder, &mut vec![own.clone()], &mut files, &mut bad);
        files.sort();
        add(root, files, label, &mut candidates, &mut bad);
    }
    Ok(Found { classes, candidates, bad })
}

/// The pictures below `folder`. `above` holds the folders that hold it, with links resolved.
fn descend(folder: &Path, above: &mut Vec<PathBuf>, files: &mut Vec<PathBuf>, bad: &mut Vec<BadFile>) {
    let mut refuse = |reason: String| bad.push(BadFile { path: folder.to_path_buf(), reason });
    let own = match fs::canonicalize(folder) {
        Ok(own) if above.contains(&own) => return refuse("is a link to a folder that holds it".into()),
        Ok(own) => own,
        Err(error) => return refuse(format!("cannot be read: {error}")),
    };
    let listing = match Listing::read(folder) {
        Ok(listing) => listing,
        Err(error) => return refuse(format!("cannot be read: {error}")),
    };
    files.extend(listing.files);
    bad.extend(listing.bad);
    above.push(own);
    listing.folders.iter().for_each(|folder| descend(folder, above, files, bad));
    above.pop();
}

/// Makes candidates of `files`, which are sorted.
fn add(root: &Path, files: Vec<PathBuf>, label: i64, candidates: &mut Vec<Candidate>, bad: &mut Vec<BadFile>) {
    let mut known: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in files {
        let parts = path.strip_prefix(root).unwrap_or(&path).iter().map(|part| part.to_string_lossy());
        let name = parts.collect::<Vec<_>>().join("/");
        if let Some(other) = known.insert(name.to_lowercase(), path.clone()) {
            let reason =
                format!("differs from {} only in case: where case does not count they are one", other.display());
            bad.push(BadFile { path, reason });
            continue;
        }
        candidates.push(Candidate { path, name, label });
    }
}

/// What lies in a folder, sorted.
struct Listing {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    bad: Vec<BadFile>,
}

impl Listing {
    fn read(folder: &Path) -> Result<Listing, String> {
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut paths: Vec<PathBuf> =
            entries.map_err(|error| error.to_string())?.iter().map(fs::DirEntry::path).collect();
        paths.sort();
        let mut listing = Listing { files: Vec::new(), folders: Vec::new(), bad: Vec::new() };
        for path in paths {
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if hidden {
                continue;
            }
            // Through links.
            match fs::metadata(&path) {
                Ok(kind) if kind.is_dir() => listing.folders.push(path),
                Ok(_) if is_picture(&path) => listing.files.push(path),
                Err(error) if is_picture(&path) => {
                    listing.bad.push(BadFile { path, reason: format!("cannot be read: {error}") });
                }
                Ok(_) | Err(_) => (),
            }
        }
        Ok(listing)
    }
}

/// Whether the name ends as those of pictures do.
fn is_picture(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&&*ending))
}
