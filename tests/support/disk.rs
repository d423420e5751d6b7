//! A small file system of its own, in memory: it can be filled, emptied and made read-only.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The file system; unmounted with the value.
pub struct SmallDisk {
    at: PathBuf,
    filler: Vec<PathBuf>,
}

impl SmallDisk {
    /// One of so many MiB, at a folder that is made for it; `None` where that is not allowed.
    pub fn mount(at: &Path, size_mib: usize) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={size_mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output().ok()?;
        mounted.status.success().then(|| Self { at: at.to_owned(), filler: Vec::new() })
    }

    /// Fills it to the last page.
    pub fn fill(&mut self) {
        for size in [64 * 1024, 4096, 1] {
            loop {
                let path = self.at.join(format!("filler{}", self.filler.len()));
                let is_full = fs::write(&path, vec![1; size]).is_err();
                self.filler.push(path);
                if is_full {
                    break;
                }
            }
        }
    }

    /// Frees what was filled.
    pub fn free(&mut self) {
        for path in self.filler.drain(..) {
            let _ = fs::remove_file(path);
        }
    }

    /// Mounts it anew, `ro` or `rw`; `false` if the system does not do that now, as when a file on it
    /// is open for writing.
    pub fn remount(&self, how: &str) -> bool {
        let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.at).output().unwrap();
        status.status.success()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}
