//! Tests: folders, whole and with bad files.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::loader::Loader;
use crate::normalize::Normalize;
use crate::split::Split;

/// A folder of two classes with 3 and 2 pictures of 4 x 6 pixels, each of one color.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, red) in [("dog/2.png", 3), ("dog/10.png", 2), ("cat/b.PNG", 1), ("cat/a.png", 0), ("dog/more/1.png", 4)]
    {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        Picture::plain(4, 6, [10 * red, 0, 255]).write_png(&path).unwrap();
    }
    fs::write(folder.path().join("README.md"), "Cats and dogs.").unwrap();
    fs::write(folder.path().join("cat/.hidden.png"), "no picture").unwrap();
    folder
}

fn refusal(folder: &TempDir) -> String {
    ImageFolder::open(folder.path()).unwrap_err().to_string()
}

/// What is left out, its paths within the folder.
fn skipped(folder: &TempDir) -> (usize, Vec<String>) {
    let opened = FolderOptions { bad: BadFiles::Skip, ..FolderOptions::default() }.open(folder.path()).unwrap();
    let name = |bad: &BadFile| bad.path.strip_prefix(folder.path()).unwrap().display().to_string();
    (opened.len(), opened.skipped().iter().map(|bad| format!("{} {}", name(bad), bad.reason)).collect())
}

#[test]
fn folders_are_classes_in_order() {
    let folder = folder();
    let pets = ImageFolder::open(folder.path()).unwrap();
    assert_eq!(pets.classes(), ["cat", "dog"]);
    let names: Vec<&str> = (0..pets.len()).map(|row| pets.name(row)).collect();
    assert_eq!(names, ["cat/a.png", "cat/b.PNG", "dog/10.png", "dog/2.png", "dog/more/1.png"]);
    let data = pets.dataset(&Augment::new()).unwrap();
    assert_eq!(data.row("image").unwrap().0, [3, 4, 6]);
    assert_eq!(data["label"], Array::from([0i64, 0, 1, 1, 1]));
    assert_eq!(data.classes(), ["cat", "dog"]);
    let read = data.select(&[3, 0]).in_memory().unwrap();
    let expected = |red: f32| [[red / 255.0; 24], [0.0; 24], [1.0; 24]].concat();
    assert_eq!(read["image"].as_slice::<f32>().unwrap(), [expected(30.0), expected(0.0)].concat());
    assert_eq!(read["file"], Array::from([3i64, 0]));
    assert_eq!(pets.picture(2).unwrap(), Picture::plain(4, 6, [20, 0, 255]));
}

#[test]
fn a_flat_folder_has_no_classes() {
    let folder = folder();
    let pictures = ImageFolder::open(folder.path().join("cat")).unwrap();
    assert!(pictures.classes().is_empty());
    let data = pictures.dataset(&Augment::new().resize(2, 2)).unwrap();
    assert_eq!(data.names().collect::<Vec<_>>(), ["image", "file"]);
    assert_eq!(pictures.path(1), folder.path().join("cat/b.PNG"));
}

#[test]
fn splits_and_batches_serve_folders_as_they_serve_arrays() {
    let folder = folder();
    let data = ImageFolder::open(folder.path()).unwrap().dataset(&Augment::new().flip().brightness(0.5)).unwrap();
    let (train, valid) = data.split(&Split::stratified("label", &data["label"], 0.4, 1).unwrap());
    assert_eq!((train.len(), valid.len()), (3, 2));
    let loader = Loader::new(&train, 2).unwrap().training(9);
    let read = |loader: &Loader, epoch, position| -> Vec<Vec<f32>> {
        loader.iter_from(epoch, position).unwrap().map(|batch| batch.unwrap()["image"].to_vec()).collect()
    };
    let whole = read(&loader, 3, 0);
    assert_eq!(whole, read(&loader.clone().workers(3).unwrap(), 3, 0));
    assert_eq!(whole[1..], read(&loader, 3, 1), "resumed");
    assert_ne!(whole.concat(), read(&loader, 4, 0).concat());
    let again = ImageFolder::open(folder.path()).unwrap().dataset(&Augment::new().flip().brightness(0.5)).unwrap();
    assert_eq!(again.fingerprint(), data.fingerprint());
    assert_ne!(train.fingerprint(), data.fingerprint());
    let other = ImageFolder::open(folder.path()).unwrap().dataset(&Augment::new().flip()).unwrap();
    assert_ne!(other.fingerprint(), data.fingerprint());
}

#[test]
fn pictures_of_a_group_are_held_out_together() {
    let folder = folder();
    let pets = ImageFolder::open(folder.path()).unwrap();
    let groups = pets.groups(|name| name.rsplit('/').next().and_then(|name| name.chars().next()));
    assert_eq!(groups, Array::from([2i64, 3, 0, 1, 0]), "1 of dog/10 and dog/more/1, 2, a, b");
    let split = Split::grouped("group", &groups, 0.4, 3).unwrap();
    assert_eq!(split.held_out().contains(&2), split.held_out().contains(&4));
}

#[test]
fn the_way_of_preparing_is_known_to_the_data() {
    let folder = folder();
    let augment = Augment::new().flip().normalize(Normalize::imagenet()).unwrap();
    let data = ImageFolder::open(folder.path()).unwrap().dataset(&augment).unwrap();
    assert_eq!(data.select(&[1]).augmentation("image").unwrap(), Some(&augment));
    assert_eq!(data.augmentation("label").unwrap(), None);
    assert!(data.augmentation("x").unwrap_err().to_string().contains("no column `x`"));
    // Pictures of files can be made into rows in another way, rows of anything else cannot.
    let (chosen, smaller) = (data.select(&[2, 0]), Augment::new().resize(2, 3));
    let other = chosen.clone().augment("image", &smaller).unwrap();
    assert_eq!(other.row("image").unwrap().0, [3, 2, 3]);
    assert_eq!(other["file"], chosen["file"]);
    let expected = ImageFolder::open(folder.path()).unwrap().dataset(&smaller).unwrap().select(&[2, 0]);
    assert_eq!(other.in_memory().unwrap()["image"], expected.in_memory().unwrap()["image"]);
    assert!(data.augment("label", &smaller).unwrap_err().to_string().contains("column `label`: has shape [5]"));
}

#[test]
fn sizes_that_differ_are_refused_before_a_batch() {
    let folder = folder();
    Picture::plain(5, 6, [0; 3]).write_png(&folder.path().join("cat/c.png")).unwrap();
    let pets = ImageFolder::open(folder.path()).unwrap();
    let message = pets.dataset(&Augment::new().flip()).unwrap_err().to_string();
    assert!(message.contains("pictures of different sizes do not fit into a batch"), "{message}");
    let message = pets.dataset(&Augment::new().crop(5, 5)).unwrap().in_memory().unwrap_err().to_string();
    assert!(message.contains("a.png cannot be prepared: image of 4 x 6: is too small to cut 5 x 5"), "{message}");
}

#[test]
fn bad_files_stop_or_are_skipped_and_named() {
    let folder = folder();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let whole = fs::read(folder.path().join("cat/a.png")).unwrap();
    write("cat/empty.jpg", b"");
    write("cat/text.png", b"I am a text");
    write("dog/cut.png", &whole[..whole.len() / 2]);
    let message = refusal(&folder);
    assert!(message.contains("cat/empty.jpg is no picture in PNG"), "{message}");
    assert!(message.contains("but an empty file; 2 more are bad (`BadFiles::Skip` leaves bad files out)"), "{message}");
    let (good, skipped) = skipped(&folder);
    assert_eq!((good, skipped.len()), (5, 3));
    for (bad, part) in skipped.iter().zip(["cat/empty.jpg is no", "cat/text.png is no", "dog/cut.png is damaged: "]) {
        assert!(bad.starts_with(part), "{bad}");
    }
}

#[test]
fn files_beyond_the_limits_are_bad() {
    let folder = folder();
    Picture::plain(100, 100, [0; 3]).write_png(&folder.path().join("dog/wide.png")).unwrap();
    let limits = Limits { pixels: 5000, ..Limits::default() };
    let message = FolderOptions { limits, ..FolderOptions::default() }.open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("wide.png is too large: it has 100 x 100 pixels, of at most 5000"), "{message}");
    for check in [Check::Decode, Check::Presence] {
        let limits = Limits { file_bytes: 90, ..Limits::default() };
        let options = FolderOptions { limits, check, bad: BadFiles::Stop };
        let message = options.open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("wide.png is too large: ") && message.contains(" of at most 90"), "{message}");
    }
}

#[test]
fn a_picture_beside_the_classes_is_bad() {
    let folder = folder();
    fs::copy(folder.path().join("cat/a.png"), folder.path().join("loose.png")).unwrap();
    assert!(refusal(&folder).contains("loose.png lies beside the folders of the classes"), "{}", refusal(&folder));
    assert_eq!(skipped(&folder), (5, vec!["loose.png lies beside the folders of the classes".to_string()]));
}

#[test]
fn a_class_without_pictures_is_bad_and_keeps_its_number() {
    let folder = folder();
    fs::create_dir(folder.path().join("cow")).unwrap();
    assert!(refusal(&folder).contains("cow holds no pictures of its class"), "{}", refusal(&folder));
    assert_eq!(skipped(&folder), (5, vec!["cow holds no pictures of its class".to_string()]));
    let opened = FolderOptions { bad: BadFiles::Skip, ..FolderOptions::default() }.open(folder.path()).unwrap();
    assert_eq!(opened.classes(), ["cat", "cow", "dog"]);
    assert_eq!(opened.dataset(&Augment::new()).unwrap()["label"], Array::from([0i64, 0, 2, 2, 2]));
}

#[test]
fn folders_without_pictures_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refusal(&folder).contains("holds no pictures (jpg, png, gif, bmp, webp)"), "{}", refusal(&folder));
    fs::write(folder.path().join("a.jpg"), "text").unwrap();
    let options = FolderOptions { bad: BadFiles::Skip, ..FolderOptions::default() };
    let message = options.open(folder.path()).unwrap_err().to_string();
    assert!(
        message.contains("that can be used: 1 are bad, the first: ") && message.contains("a.jpg is no"),
        "{message}"
    );
    let message = ImageFolder::open(folder.path().join("none")).unwrap_err().to_string();
    assert!(message.contains("none is no folder that can be read: "), "{message}");
    let message = ImageFolder::open(folder.path().join("a.jpg")).unwrap_err().to_string();
    assert!(message.contains("a.jpg is no folder that can be read: "), "{message}");
}

#[test]
fn names_that_differ_in_case_are_bad() {
    let folder = folder();
    fs::copy(folder.path().join("cat/a.png"), folder.path().join("cat/A.png")).unwrap();
    if fs::read_dir(folder.path().join("cat")).unwrap().count() == 3 {
        return; // On this file system they are one file.
    }
    let (good, bad) = skipped(&folder);
    assert_eq!(good, 5);
    assert!(bad[0].starts_with("cat/a.png differs from ") && bad[0].contains("A.png only in case"), "{bad:?}");
    fs::create_dir(folder.path().join("Dog")).unwrap();
    let options = FolderOptions { bad: BadFiles::Skip, ..FolderOptions::default() };
    let message = options.open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("dog differs from ") && message.contains("are they one class or two?"), "{message}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_loops_are_bad() {
    use std::os::unix::fs::symlink;
    let folder = folder();
    symlink(folder.path().join("cat/a.png"), folder.path().join("dog/linked.png")).unwrap();
    assert_eq!(skipped(&folder), (6, vec![]));
    assert_eq!(ImageFolder::open(folder.path()).unwrap().duplicates(), [[0, 4]]);
    symlink(folder.path(), folder.path().join("dog/loop")).unwrap();
    symlink(folder.path().join("nowhere"), folder.path().join("dog/broken.jpg")).unwrap();
    assert!(refusal(&folder).contains("broken.jpg cannot be read: "), "{}", refusal(&folder));
    let (good, bad) = skipped(&folder);
    assert_eq!((good, bad.len()), (6, 2));
    assert_eq!(bad[1], "dog/loop is a link to a folder that holds it");
}

#[cfg(unix)]
#[test]
fn a_file_without_permission_and_a_pipe_are_bad() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let pipe = folder.path().join("cat/pipe.png");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(refusal(&folder).contains("pipe.png is a pipe or a device, not a file"), "{}", refusal(&folder));
    fs::remove_file(&pipe).unwrap();
    let closed = folder.path().join("cat/a.png");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    match fs::read(&closed) {
        Err(_) => assert!(refusal(&folder).contains("a.png cannot be read: "), "{}", refusal(&folder)),
        Ok(_) => assert_eq!(ImageFolder::open(folder.path()).unwrap().len(), 5, "nothing is closed to this user"),
    }
}

#[test]
fn a_file_that_changes_is_named_when_it_is_read() {
    let folder = folder();
    let path = folder.path().join("dog/2.png");
    let data = ImageFolder::open(folder.path()).unwrap().dataset(&Augment::new()).unwrap();
    let error = |data: &Dataset| {
        let mut batches = Loader::new(data, 2).unwrap().epoch(1).unwrap();
        batches.find_map(Result::err).unwrap().to_string()
    };
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let message = error(&data);
    assert!(message.starts_with("sample 3 (epoch 1, batch 1): column `image`: "), "{message}");
    assert!(message.contains("2.png has changed since the folder was opened: the length is the same"), "{message}");
    fs::write(&path, b"other").unwrap();
    assert!(
        error(&data)
            .contains(&format!("2.png has changed since the folder was opened: {} bytes then, 5 now", last + 1))
    );
    fs::remove_file(&path).unwrap();
    assert!(error(&data).contains("2.png cannot be read: "), "{}", error(&data));
}

#[test]
fn without_a_check_a_bad_picture_is_named_when_it_is_read() {
    let folder = folder();
    fs::write(folder.path().join("dog/2.png"), b"text").unwrap();
    let options = FolderOptions { check: Check::Presence, ..FolderOptions::default() };
    let pets = options.open(folder.path()).unwrap();
    assert!(
        pets.dataset(&Augment::new().flip()).unwrap_err().to_string().contains("resize or crop"),
        "no size is known"
    );
    let message = pets.dataset(&Augment::new().resize(4, 4)).unwrap().in_memory().unwrap_err().to_string();
    assert!(message.starts_with("column `image`, row 3: ") && message.contains("2.png is no picture"), "{message}");
    fs::write(folder.path().join("dog/2.png"), b"").unwrap();
    let message = options.open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("2.png is an empty file"), "{message}");
}

#[test]
fn real_photos_are_read() {
    let Some(data) = std::env::var_os("THALWEG_DATA") else {
        eprintln!("skipped: THALWEG_DATA is not set");
        return;
    };
    let flowers = ImageFolder::open(Path::new(&data).join("flowers")).unwrap();
    assert_eq!((flowers.len(), flowers.classes().len()), (160, 5));
    assert_eq!(flowers.classes()[4], "tulips");
    let data = flowers.dataset(&Augment::new().random_resized_crop(64, 64)).unwrap();
    let batch = Loader::new(&data, 160).unwrap().epoch(0).unwrap().next().unwrap().unwrap();
    let mean: f64 = batch["image"].to_vec::<f64>().iter().sum::<f64>() / (160.0 * 3.0 * 4096.0);
    assert!((0.3..0.5).contains(&mean), "{mean}");
}
