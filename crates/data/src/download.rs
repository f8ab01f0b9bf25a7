//! Sets and weights from their public homes (feature `download`).
//!
//! A file is what its size and its sha256 say, or it is not there: bytes go into a file of another name, which takes its
//! own once all of them came and their sum is right. What is there already is checked and kept.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::config::Config;

use crate::error::DataError;

/// A file and where the world gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its address.
    pub url: &'static str,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: &'static str,
    /// Whether it is an archive (`.tar.gz`) whose files are wanted, not itself.
    pub unpack: bool,
}

/// What belongs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteSet {
    /// What command lines call it.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// Its files.
    pub files: &'static [Remote],
}

/// The sets whose homes are known.
///
/// ```
/// let mnist = thalweg_data::download::SETS.iter().find(|set| set.name == "mnist").expect("is there");
/// assert_eq!(mnist.files.len(), 4);
/// ```
pub const SETS: &[RemoteSet] = &[
    RemoteSet {
        name: "mnist",
        about: "70,000 handwritten digits (LeCun, Cortes, Burges)",
        files: &[
            file(
                "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            file(
                "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz",
                28_881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            file(
                "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            file(
                "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
                4_542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ],
    },
    RemoteSet {
        name: "cifar10",
        about: "60,000 photos of 32 x 32 pixels in ten classes (Krizhevsky 2009)",
        files: &[Remote {
            url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            bytes: 170_052_171,
            sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            unpack: true,
        }],
    },
    RemoteSet {
        name: "squeezenet",
        about: "the weights of SqueezeNet 1.1 trained on ImageNet (torchvision)",
        files: &[file(
            "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
            4_958_839,
            "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
        )],
    },
];

/// Bytes at a time.
const BUFFER: usize = 1 << 16;
/// How long a home may keep silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a home may send elsewhere.
const REDIRECTS: u32 = 5;

const fn file(url: &'static str, bytes: u64, sha256: &'static str) -> Remote {
    Remote { url, bytes, sha256, unpack: false }
}

impl RemoteSet {
    /// The set of this name.
    pub fn named(name: &str) -> Option<&'static RemoteSet> {
        SETS.iter().find(|set| set.name == name)
    }

    /// Bytes of all files, as they travel.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Gets the files that `folder` does not have yet, and says by `progress` how many bytes of all files are there. Gives
    /// the files that the folder has now.
    ///
    /// # Errors
    /// If a home cannot be reached or gives something else than the file, or the folder cannot be written to. What was
    /// whole stays, and nothing else.
    pub fn fetch(&self, folder: impl AsRef<Path>, mut progress: impl FnMut(u64)) -> Result<Vec<PathBuf>, DataError> {
        let (mut done, mut paths) = (0, Vec::new());
        for file in self.files {
            paths.extend(file.fetch(folder.as_ref(), |bytes| progress(done + bytes))?);
            done += file.bytes;
            progress(done);
        }
        Ok(paths)
    }
}

impl Remote {
    /// What the file is called: the end of its address.
    pub fn name(&self) -> &'static str {
        self.url.rsplit('/').next().unwrap_or(self.url)
    }

    /// Gets the file into `folder`, unless it is there.
    fn fetch(&self, folder: &Path, progress: impl FnMut(u64)) -> Result<Vec<PathBuf>, DataError> {
        let path = folder.join(self.name());
        if self.is_at(&path)? {
            return self.unpacked(&path);
        }
        fs::create_dir_all(folder).map_err(|error| failed(folder, format!("cannot be made: {error}")))?;
        let mut part = Part::new(path.with_file_name(format!("{}.part", self.name())))?;
        self.copy(&mut part, progress)?;
        part.becomes(&path)?;
        self.unpacked(&path)
    }

    /// Whether `path` is the file, whole.
    fn is_at(&self, path: &Path) -> Result<bool, DataError> {
        if !fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == self.bytes) {
            return Ok(false);
        }
        let mut sum = Sha256::new();
        let read = |source| DataError::Read { path: path.into(), source };
        let mut file = File::open(path).map_err(read)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            match file.read(&mut buffer).map_err(read)? {
                0 => return Ok(digits(&sum.finalize()) == self.sha256),
                count => sum.update(&buffer[..count]),
            }
        }
    }

    /// Copies what the home gives.
    fn copy(&self, part: &mut Part, mut progress: impl FnMut(u64)) -> Result<(), DataError> {
        let refuse = |reason: String| DataError::Remote { url: self.url.into(), reason };
        let agent: Agent = Config::builder()
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .max_redirects(REDIRECTS)
            .build()
            .into();
        let response = agent.get(self.url).call().map_err(|error| refuse(said(&error)))?;
        let mut body = response.into_body().into_reader();
        let (mut sum, mut count, mut buffer) = (Sha256::new(), 0u64, vec![0; BUFFER]);
        loop {
            let read = body.read(&mut buffer).map_err(|error| refuse(format!("ended after {count} bytes: {error}")))?;
            if read == 0 {
                break;
            }
            count += read as u64;
            if count > self.bytes {
                return Err(refuse(format!("is larger than the {} bytes of the file", self.bytes)));
            }
            sum.update(&buffer[..read]);
            part.write(&buffer[..read])?;
            progress(count);
        }
        if count != self.bytes {
            return Err(refuse(format!("ended after {count} of {} bytes; try again", self.bytes)));
        }
        let found = digits(&sum.finalize());
        if found != self.sha256 {
            return Err(refuse(format!("is another file: its sha256 is {found}, not {}", self.sha256)));
        }
        Ok(())
    }

    /// The file itself, or those in it, beside it.
    fn unpacked(&self, path: &Path) -> Result<Vec<PathBuf>, DataError> {
        if !self.unpack {
            return Ok(vec![path.into()]);
        }
        let refuse = |error: io::Error| failed(path, format!("cannot be unpacked: {error}"));
        let file = File::open(path).map_err(|source| DataError::Read { path: path.into(), source })?;
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let mut paths = Vec::new();
        for entry in archive.entries().map_err(refuse)? {
            let mut entry = entry.map_err(refuse)?;
            // Only the last part of a name counts, so that no entry gets out of the folder.
            let name = entry.path().map_err(refuse)?.file_name().map(PathBuf::from);
            let (true, Some(name)) = (entry.header().entry_type().is_file(), name) else { continue };
            let to = path.with_file_name(&name);
            if !fs::metadata(&to).is_ok_and(|metadata| metadata.len() == entry.size()) {
                let mut part = Part::new(path.with_file_name(format!("{}.part", name.display())))?;
                io::copy(&mut entry, &mut part.file).map_err(refuse)?;
                part.becomes(&to)?;
            }
            paths.push(to);
        }
        Ok(paths)
    }
}

/// A file on its way: removed, unless it became what it should be.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    fn new(path: PathBuf) -> Result<Part, DataError> {
        let file = File::create(&path).map_err(|error| failed(&path, format!("cannot be written: {error}")))?;
        Ok(Part { path, file })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.file.write_all(bytes).map_err(|error| failed(&self.path, format!("cannot be written: {error}")))
    }

    fn becomes(&self, path: &Path) -> Result<(), DataError> {
        let renamed = self.file.sync_all().and_then(|()| fs::rename(&self.path, path));
        renamed.map_err(|error| failed(path, format!("cannot be written: {error}")))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // What became a file is no longer here.
        let _ = fs::remove_file(&self.path);
    }
}

fn failed(path: &Path, reason: String) -> DataError {
    DataError::File { path: path.into(), reason }
}

/// Why there is no answer, and what can be done.
fn said(error: &ureq::Error) -> String {
    match error {
        ureq::Error::StatusCode(404) => "is not there any more (404)".into(),
        ureq::Error::StatusCode(status) => format!("answers with status {status}"),
        ureq::Error::TooManyRedirects => format!("sends elsewhere more than {REDIRECTS} times"),
        error => format!("cannot be reached ({error}); without a network, get it elsewhere into the same folder"),
    }
}

fn digits(sum: &[u8]) -> String {
    sum.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const CONTENT: &[u8] = b"what was asked for";
    const SUM: &str = "6c80a7d0a31d8b751ac8f225665b7360e7e16d65c1181ab817fd222c1cbe859c";

    /// A home that gives `answer` to whoever asks, so many times; its address.
    fn home(answers: usize, answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> &'static str {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url: &'static str = format!("http://{}/file.bin", listener.local_addr().unwrap()).leak();
        thread::spawn(move || {
            for stream in listener.incoming().take(answers) {
                let mut stream = stream.unwrap();
                let request = BufReader::new(&stream).lines().map_while(Result::ok);
                request.take_while(|line| !line.is_empty()).for_each(drop);
                stream.write_all(&answer(url)).unwrap();
            }
        });
        url
    }

    fn body(bytes: &[u8], length: usize) -> Vec<u8> {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        [head.as_bytes(), bytes].concat()
    }

    fn remote(url: &'static str) -> Remote {
        file(url, CONTENT.len() as u64, SUM)
    }

    /// What is said of an answer; and that the folder is as it was.
    fn refusal(url: &'static str) -> String {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("other"), "other").unwrap();
        let message = remote(url).fetch(folder.path(), |_| ()).unwrap_err().to_string();
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["other"], "{message}");
        message
    }

    #[test]
    fn a_file_is_fetched_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = remote(home(1, |_| body(CONTENT, CONTENT.len())));
        let mut seen = 0;
        let paths = file.fetch(&folder.path().join("new"), |bytes| seen = bytes).unwrap();
        assert_eq!((fs::read(&paths[0]).unwrap().as_slice(), seen), (CONTENT, CONTENT.len() as u64));
        // The home is gone: what is there is enough.
        assert_eq!(file.fetch(&folder.path().join("new"), |_| ()).unwrap(), paths);
        fs::write(&paths[0], "what was asked FOR").unwrap();
        assert!(file.fetch(&folder.path().join("new"), |_| ()).is_err(), "another file of the same size is not enough");
    }

    #[test]
    fn what_is_not_the_file_is_refused_and_leaves_nothing() {
        let short = refusal(home(1, |_| body(&CONTENT[..5], 5)));
        assert!(short.contains("127.0.0.1") && short.contains("ended after 5 of 18 bytes"), "{short}");
        let cut = refusal(home(1, |_| body(&CONTENT[..5], CONTENT.len())));
        assert!(cut.contains("ended after 5 bytes"), "{cut}");
        let long = refusal(home(1, |_| body(&[7; 100], 100)));
        assert!(long.contains("larger than the 18 bytes"), "{long}");
        let other = refusal(home(1, |_| body(&[b'x'; 18], 18)));
        assert!(other.contains("is another file: its sha256 is") && other.contains(SUM), "{other}");
    }

    #[test]
    fn a_home_that_does_not_answer_as_it_should_is_named() {
        let gone = refusal(home(1, |_| b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()));
        assert!(gone.contains("not there any more"), "{gone}");
        let around = refusal(home(20, |url| {
            format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into()
        }));
        assert!(around.contains("sends elsewhere more than 5 times"), "{around}");
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let silent = refusal(format!("http://{nobody}/file.bin").leak());
        assert!(silent.contains("cannot be reached"), "{silent}");
    }

    #[test]
    fn archives_are_unpacked_beside_themselves() {
        let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o644);
        archive.append_data(&mut header, "folder/inner.bin", &b"1234"[..]).unwrap();
        let bytes = archive.into_inner().unwrap().finish().unwrap();
        let sum: &'static str = digits(&Sha256::digest(&bytes)).leak();
        let length = bytes.len() as u64;
        let url = home(1, move |_| body(&bytes, bytes.len()));
        let folder = tempfile::tempdir().unwrap();
        let archive = Remote { url, bytes: length, sha256: sum, unpack: true };
        for _ in 0..2 {
            let paths = archive.fetch(folder.path(), |_| ()).unwrap();
            assert_eq!(paths, [folder.path().join("inner.bin")]);
            assert_eq!(fs::read(&paths[0]).unwrap(), b"1234");
        }
    }
}
