//! The published site as HTTP sees it: which file a path names, its tag, its compressed form.
//!
//! Files are replaced whole by a rename, so one that is open never changes. What is remembered of
//! a file (tag, compressed form) belongs to one inode at one length and time.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata},
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::{Compression, write::GzEncoder};
use hyper::body::Bytes;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{
    body::{Body, FileBody},
    types::{self, Kind},
};

/// Files up to this length are sent from memory; longer ones piece by piece.
const SMALL: u64 = 64 * 1024;
/// Below this length a compressed form saves no packet.
const WORTH_COMPRESSING: u64 = 860;
/// Above this length a file is neither hashed nor compressed: its tag comes from its inode.
const HUGE: u64 = 8 * 1024 * 1024;
/// How much compressed text is remembered, in bytes.
const REMEMBERED: usize = 16 * 1024 * 1024;
/// How many files are remembered.
const REMEMBERED_FILES: usize = 8192;

/// The folder that is served.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    memory: Mutex<Memory>,
    /// Held while a file is hashed and compressed, so that a crowd after a publish does it once.
    filling: Mutex<()>,
}

/// What a path names.
#[derive(Debug)]
pub(super) enum Found {
    /// A file.
    File(Served),
    /// A folder with an index, asked for without its `/`.
    Folder,
    /// Nothing that is served.
    Nothing,
}

/// A file, open and ready to be sent.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) kind: Kind,
    /// A strong tag, quoted; it differs between the compressed form and the plain one.
    pub(super) etag: String,
    pub(super) modified_at: Timestamp,
    pub(super) len: u64,
    /// Whether `body` is compressed.
    pub(super) gzip: bool,
    pub(super) body: Body,
}

/// Names one content of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(meta: &Metadata) -> Self {
        Self {
            len: meta.len(),
            inode: meta.ino(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

#[derive(Clone, Debug)]
struct Known {
    stamp: Stamp,
    tag: String,
    gzip: Option<Bytes>,
}

#[derive(Debug, Default)]
struct Memory {
    /// With the moment of its last use.
    by_path: BTreeMap<PathBuf, (u64, Known)>,
    bytes: usize,
    uses: u64,
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, memory: Mutex::default(), filling: Mutex::default() }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds and opens what `segments` name below the root; a `folder` means its `index.html`.
    /// Links that lead out of the root lead nowhere. Blocks.
    ///
    /// # Errors
    /// If the file is there but cannot be read now.
    pub(super) fn find(&self, segments: &[String], folder: bool, gzip: bool) -> io::Result<Found> {
        let Some(root) = there(fs::canonicalize(&self.root))? else { return Ok(Found::Nothing) };
        let mut path = root.clone();
        path.extend(segments);
        if folder {
            path.push("index.html");
        }
        let Some(path) = there(fs::canonicalize(&path))? else { return Ok(Found::Nothing) };
        if !path.starts_with(&root) {
            return Ok(Found::Nothing);
        }
        let Some(meta) = there(fs::metadata(&path))? else { return Ok(Found::Nothing) };
        if meta.is_dir() && !folder {
            let index = path.join("index.html");
            return Ok(if index.is_file() { Found::Folder } else { Found::Nothing });
        }
        // Anything else, a pipe say, might not even open.
        if !meta.is_file() {
            return Ok(Found::Nothing);
        }
        let Some(file) = there(File::open(&path))? else { return Ok(Found::Nothing) };
        self.serve(&path, file, gzip).map(Found::File)
    }

    fn serve(&self, path: &Path, mut file: File, gzip: bool) -> io::Result<Served> {
        // Of the open file: between the look above and now another may have taken its name.
        let meta = file.metadata()?;
        let (stamp, len) = (Stamp::from(&meta), meta.len());
        let kind = types::of(&path.file_name().unwrap_or_default().to_string_lossy());
        let known = self.know(path, &mut file, stamp, kind)?;
        let modified_at = Timestamp::new(meta.mtime(), 0).unwrap_or(Timestamp::UNIX_EPOCH);
        if let Some(bytes) = known.gzip.filter(|_| gzip) {
            let (etag, len) = (format!("\"{}-gz\"", known.tag), u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            return Ok(Served { kind, etag, modified_at, len, gzip: true, body: bytes.into() });
        }
        let body = if len <= SMALL {
            let mut bytes = Vec::new();
            (&file).take(len).read_to_end(&mut bytes)?;
            Bytes::from(bytes).into()
        } else {
            Body::File(FileBody::new(file, len))
        };
        let len = if let Body::Bytes(bytes) = &body { u64::try_from(bytes.len()).unwrap_or(len) } else { len };
        Ok(Served { kind, etag: format!("\"{}\"", known.tag), modified_at, len, gzip: false, body })
    }

    fn know(&self, path: &Path, file: &mut File, stamp: Stamp, kind: Kind) -> io::Result<Known> {
        if let Some(known) = self.memory().recall(path, stamp) {
            return Ok(known);
        }
        let _filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.memory().recall(path, stamp) {
            return Ok(known);
        }
        let known = if stamp.len > HUGE {
            let named = format!("{stamp:?}");
            Known { stamp, tag: tag(named.as_bytes()), gzip: None }
        } else {
            let mut bytes = Vec::new();
            (&*file).take(stamp.len).read_to_end(&mut bytes)?;
            file.rewind()?;
            let worth = kind.text && stamp.len >= WORTH_COMPRESSING;
            Known { stamp, tag: tag(&bytes), gzip: if worth { compress(&bytes)? } else { None } }
        };
        self.memory().keep(path, known.clone());
        Ok(known)
    }
}

impl Memory {
    fn recall(&mut self, path: &Path, stamp: Stamp) -> Option<Known> {
        self.uses = self.uses.wrapping_add(1);
        let (used, known) = self.by_path.get_mut(path).filter(|(_, known)| known.stamp == stamp)?;
        *used = self.uses;
        Some(known.clone())
    }

    fn keep(&mut self, path: &Path, known: Known) {
        self.bytes = self.bytes.saturating_add(known.gzip.as_ref().map_or(0, Bytes::len));
        let before = self.by_path.insert(path.to_owned(), (self.uses, known));
        self.forget(before);
        while self.bytes > REMEMBERED || self.by_path.len() > REMEMBERED_FILES {
            let oldest = self.by_path.iter().min_by_key(|(_, (used, _))| *used).map(|(path, _)| path.clone());
            let Some(oldest) = oldest else { break };
            let gone = self.by_path.remove(&oldest);
            self.forget(gone);
        }
    }

    fn forget(&mut self, gone: Option<(u64, Known)>) {
        let bytes = gone.and_then(|(_, known)| known.gzip).map_or(0, |gzip| gzip.len());
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// `None` for what is not there, or is not for us.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound, PermissionDenied};
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.kind() {
            NotFound | NotADirectory | InvalidFilename | InvalidInput | PermissionDenied => Ok(None),
            // A ring of links.
            _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => Ok(None),
            _ => Err(error),
        },
    }
}

fn tag(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    URL_SAFE_NO_PAD.encode(hash.get(..15).unwrap_or_default())
}

/// The compressed form, if it is at least a tenth smaller.
fn compress(bytes: &[u8]) -> io::Result<Option<Bytes>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(bytes)?;
    let compressed = encoder.finish()?;
    Ok((compressed.len() < bytes.len() / 10 * 9).then(|| compressed.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio;

    fn segments(path: &str) -> Vec<String> {
        path.split('/').map(str::to_owned).collect()
    }

    fn served(files: &Files, path: &str, gzip: bool) -> Served {
        match files.find(&segments(path), false, gzip).unwrap() {
            Found::File(served) => served,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn the_tag_moves_with_the_content_and_only_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path().to_owned());
        let path = folder.path().join("a.html");
        fsio::write(&path, b"one").unwrap();
        let first = served(&files, "a.html", false).etag;
        fsio::write(&path, b"one").unwrap();
        assert_eq!(served(&files, "a.html", false).etag, first);
        fsio::write(&path, b"two").unwrap();
        assert_ne!(served(&files, "a.html", false).etag, first);
    }

    #[test]
    fn text_is_compressed_and_tagged_apart() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path().to_owned());
        fsio::write(&folder.path().join("a.html"), "words ".repeat(1000).as_bytes()).unwrap();
        fsio::write(&folder.path().join("a.png"), "words ".repeat(1000).as_bytes()).unwrap();
        let (plain, small) = (served(&files, "a.html", false), served(&files, "a.html", true));
        assert!(!plain.gzip && small.gzip && small.len < plain.len / 10);
        assert_ne!(plain.etag, small.etag);
        assert!(!served(&files, "a.png", true).gzip);
    }

    #[test]
    fn links_are_followed_inside_the_site_only() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = Files::new(folder.path().to_owned());
        fsio::write(&folder.path().join("a.txt"), b"one").unwrap();
        fsio::write(&outside.path().join("secret.txt"), b"secret").unwrap();
        let link = |to: &Path, from: &str| std::os::unix::fs::symlink(to, folder.path().join(from)).unwrap();
        link(Path::new("a.txt"), "inside.txt");
        link(&outside.path().join("secret.txt"), "outside.txt");
        link(outside.path(), "folder");
        link(Path::new("ring"), "ring");
        served(&files, "inside.txt", false);
        for path in ["outside.txt", "folder/secret.txt", "ring", "nothing", "a.txt/b"] {
            let found = files.find(&segments(path), false, false).unwrap();
            assert!(matches!(found, Found::Nothing), "{path}: {found:?}");
        }
    }

    #[test]
    fn the_root_itself_may_be_a_link() {
        let folder = tempfile::tempdir().unwrap();
        fsio::write(&folder.path().join("v1/a.txt"), b"one").unwrap();
        std::os::unix::fs::symlink("v1", folder.path().join("public")).unwrap();
        served(&Files::new(folder.path().join("public")), "a.txt", false);
    }

    #[test]
    fn a_folder_without_an_index_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path().to_owned());
        fsio::write(&folder.path().join("empty/x.txt"), b"x").unwrap();
        fsio::write(&folder.path().join("full/index.html"), b"x").unwrap();
        assert!(matches!(files.find(&segments("empty"), false, false).unwrap(), Found::Nothing));
        assert!(matches!(files.find(&segments("empty"), true, false).unwrap(), Found::Nothing));
        assert!(matches!(files.find(&segments("full"), false, false).unwrap(), Found::Folder));
        assert!(matches!(files.find(&segments("full"), true, false).unwrap(), Found::File(_)));
    }

    #[test]
    fn memory_stays_within_its_bounds() {
        let stamp = Stamp { len: 1, inode: 1, modified: (0, 0), changed: (0, 0) };
        let mut memory = Memory::default();
        for n in 0..40 {
            let gzip = Some(Bytes::from(vec![0; REMEMBERED / 16]));
            memory.keep(Path::new(&n.to_string()), Known { stamp, tag: String::new(), gzip });
            memory.recall(Path::new("0"), stamp);
        }
        assert!(memory.bytes <= REMEMBERED);
        assert_eq!(memory.by_path.len(), 16);
        assert!(memory.recall(Path::new("0"), stamp).is_some(), "what is used stays");
    }
}
