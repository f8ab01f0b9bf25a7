//! Photos of one's own: trained on, recognized, and where the model looked.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use thalweg::data::Picture;

use crate::support::{folder, refuse, run, succeed};

/// Photos of 70 x 90 pixels: a red or a green square somewhere on gray, eight of each.
fn draw(root: &Path) {
    for (class, color) in [("green", [20, 200, 30]), ("red", [220, 30, 20])] {
        std::fs::create_dir_all(root.join(class)).unwrap();
        for number in 0..8usize {
            let mut photo = Picture::plain(70, 90, [100 + 8 * number as u8; 3]);
            photo.paste(&Picture::plain(40, 40, color), (3 * number, 50 - 5 * number));
            photo.write_png(&root.join(class).join(format!("{number}.png"))).unwrap();
        }
    }
}

/// A folder with `photos`, and a `run` that was trained on them.
fn trained() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
        if root.exists() {
            std::fs::remove_dir_all(&root).expect("what an earlier test left is removed");
        }
        draw(&root.join("photos"));
        let (photos, run) = (root.join("photos"), root.join("run"));
        let files = ["--data".as_ref(), photos.as_os_str(), "--run".as_ref(), run.as_os_str()];
        succeed(quick("2").into_iter().chain(files));
        root
    })
}

/// `thalweg train images` on small pictures, for so many epochs.
fn quick(epochs: &str) -> Vec<&OsStr> {
    ["train", "images", "--model", "scratch", "--set", "side=64", "--batch", "4", "--epochs", epochs]
        .map(OsStr::new)
        .to_vec()
}

fn asked<'a>(command: &'a str, args: impl IntoIterator<Item = &'a Path>) -> Vec<PathBuf> {
    let run = trained().join("run");
    [PathBuf::from(command), run].into_iter().chain(args.into_iter().map(Path::to_path_buf)).collect()
}

#[test]
fn a_run_on_photos_is_evaluated_and_asked() {
    let (photos, seen) = (trained().join("photos"), trained().join("seen.png"));
    let photo = photos.join("red/3.png");
    let ran = succeed(asked("evaluate", ["--data".as_ref(), &*photos]));
    assert!(ran.stdout.contains("images after step") && ran.stdout.contains("green"), "{ran:?}");
    let ran = succeed(asked("predict", [&*photo, &photos.join("green/0.png"), "--show".as_ref(), &seen]));
    assert!(ran.stdout.contains("red/3.png: ") && ran.stdout.contains("green/0.png: "), "{ran:?}");
    let result = succeed(asked("predict", [&*photo, "--json".as_ref()])).json();
    assert_eq!(result["classes"], serde_json::json!(["green", "red"]), "{result}");
    assert_eq!(result["predictions"][0]["probabilities"].as_array().map(Vec::len), Some(2), "{result}");
    assert!(Picture::read(&seen, &Default::default()).unwrap().width() >= 2 * 64);
}

#[test]
fn a_row_of_the_test_photos_is_seen_as_in_the_evaluation() {
    let (photos, seen) = (trained().join("photos"), trained().join("row.png"));
    let row = |number: &'static str, args: &[&OsStr]| {
        let row = ["predict".into(), trained().join("run").into_os_string(), "--row".into(), number.into()];
        let data = ["--data".into(), photos.clone().into_os_string()];
        row.into_iter().chain(data).chain(args.iter().map(|arg| arg.to_os_string())).collect::<Vec<OsString>>()
    };
    let shown = row("0", &["--json".as_ref(), "--show".as_ref(), seen.as_os_str()]);
    let result = succeed(shown).json();
    let prediction = &result["predictions"][0];
    assert_eq!(prediction["input"], "test row 0", "{result}");
    assert!(prediction["label"] == "red" || prediction["label"] == "green", "{result}");
    assert!(Picture::read(&seen, &Default::default()).unwrap().width() >= 64);
    refuse(row("9999", &[]), 2, &["row 9999", "rows, numbered from 0"]);
}

#[test]
fn maps_are_drawn_at_the_size_of_the_photos() {
    let (photo, out) = (trained().join("photos/red/3.png"), trained().join("maps"));
    let ran = succeed(asked("maps", [&*photo, &photo, "--class".as_ref(), "red".as_ref(), "--out".as_ref(), &out]));
    assert!(ran.stdout.lines().count() == 2 && ran.stdout.contains("3-map-2.png"), "{ran:?}");
    let map = Picture::read(&out.join("3-map.png"), &Default::default()).unwrap();
    assert!(map.width() >= 90 && map.height() > 70);
    let result = succeed(asked("maps", [&*photo, "--json".as_ref(), "--out".as_ref(), &out])).json();
    assert_eq!(result["features"], "f32[batch,512,3,3]", "{result}");
}

#[test]
fn what_cannot_be_looked_at_is_named() {
    let folder = folder();
    let out = folder.path().join("maps");
    let text = folder.path().join("text.jpg");
    std::fs::write(&text, "no picture").unwrap();
    let photo = trained().join("photos/red/3.png");
    for command in ["predict", "maps"] {
        let args = asked(command, [&*text, &photo]);
        let out = ["--out".as_ref(), out.as_os_str()].into_iter().filter(|_| command == "maps");
        let ran = run(args.iter().map(|arg| arg.as_os_str()).chain(out));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("text.jpg is no picture in PNG, JPEG"), "{ran:?}");
        assert!(ran.stdout.contains("red/3.png: "), "one bad file does not keep the others from being seen: {ran:?}");
    }
    let maps = |args: &[&Path]| asked("maps", [&[&*photo, "--out".as_ref()], args].concat());
    refuse(maps(&[&text]), 1, &["text.jpg: cannot be made"]);
    refuse(maps(&[&out, "--method".as_ref(), "cam".as_ref()]), 1, &["no sum over the positions", "Grad-CAM is"]);
    refuse(maps(&[&out, "--class".as_ref(), "gren".as_ref()]), 2, &["no class `gren`", "did you mean `green`?"]);
    let digits = crate::support::digits();
    let args = ["maps".as_ref(), digits.as_os_str(), photo.as_os_str(), "--out".as_ref(), out.as_os_str()];
    refuse(args, 1, &["f32[batch,8,8], which are no pictures in color"]);
    refuse(["maps", "/no/such/run", "a.png", "--out", "maps"], 1, &["/no/such/run"]);
    refuse(["maps", "somewhere", "a.png"], 2, &["--out <DIR>"]);
}

#[test]
fn folders_of_photos_that_cannot_be_learned_from_are_named() {
    let folder = folder();
    let root = folder.path();
    let refused = |path: &Path, parts: &[&str]| {
        refuse(quick("1").into_iter().chain(["--data".as_ref(), path.as_os_str()]), 1, parts)
    };
    refused(&root.join("none"), &["none"]);
    let photo = Picture::plain(70, 70, [9; 3]);
    let write = |name: &str| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        photo.write_png(&path).unwrap();
        path
    };
    write("flat/a.png");
    refused(&root.join("flat"), &["flat holds pictures, but no folders", "a folder for each class"]);
    write("one/cat/a.png");
    refused(&root.join("one"), &["holds one class, `cat`", "at least two"]);
    draw(&root.join("bad"));
    std::fs::write(root.join("bad/red/9.png"), "no picture").unwrap();
    refused(&root.join("bad"), &["9.png", "is no picture"]);
    std::fs::remove_file(root.join("bad/red/9.png")).unwrap();
    std::fs::create_dir(root.join("bad/blue")).unwrap();
    refused(&root.join("bad"), &["blue", "holds no pictures of its class"]);
}

#[test]
fn weights_that_do_not_fit_are_refused_before_the_data_are_read() {
    let folder = folder();
    let file = folder.path().join("weights.npz");
    std::fs::write(&file, "PK").unwrap();
    let with = |args: &[&str]| {
        let args = ["train", "images", "--data", "/no/such/folder"].iter().chain(args).map(|arg| arg.to_string());
        args.collect::<Vec<String>>()
    };
    refuse(with(&[]), 2, &["model `squeezenet`", "--weights", "thalweg download squeezenet", "--model scratch"]);
    refuse(with(&["--model", "linear"]), 2, &["model `linear`", "--weights"]);
    refuse(with(&["--weights", file.to_str().unwrap()]), 1, &["weights.npz"]);
    refuse(with(&["--weights", "/no/such/file"]), 1, &["/no/such/file"]);
    refuse(with(&["--weights", "x", "--model", "scratch"]), 2, &["weights x", "begins without weights"]);
    refuse(["train", "digits", "--weights", "x"], 2, &["weights x", "digits"]);
}

#[test]
fn folds_are_trained_one_after_the_other() {
    let photos = trained().join("photos");
    let with = |args: &[&'static str]| {
        let args = args.iter().map(OsStr::new);
        quick("1")
            .into_iter()
            .chain(["--data".as_ref(), photos.as_os_str()])
            .chain(args)
            .map(OsStr::to_os_string)
            .collect::<Vec<_>>()
    };
    let ran = succeed(with(&["--folds", "2", "--json"]));
    let result = ran.json();
    assert_eq!(result["folds"].as_array().map(Vec::len), Some(2), "{result}");
    assert_eq!(
        (&result["folds"][0]["train_rows"], &result["folds"][1]["test_rows"]),
        (&8.into(), &8.into()),
        "{result}"
    );
    assert!(result["test_accuracy"]["mean"].is_f64(), "{result}");
    refuse(with(&["--folds", "17"]), 1, &["17 folds", "16 rows"]);
    refuse(with(&["--folds", "1"]), 2, &["'--folds <K>'", "from 2"]);
    refuse(with(&["--folds", "2", "--run", "x"]), 2, &["--folds <K>", "--run <DIR>"]);
    refuse(["train", "digits", "--folds", "2"], 2, &["2 folds", "`digits` has a test set of its own"]);
}
