//! On what kind of file system a folder lies: a store needs one that keeps what it is given, and
//! whose locks and shared memory work.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use rustix::fs::{major, minor, statfs};

/// A file system, as far as a store cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FsKind {
    /// Keeps what it is given, or is not known to be otherwise.
    Local,
    /// Lives in memory: a reboot empties it.
    Volatile(String),
    /// Lies on another machine: locks and shared memory cannot be relied on.
    Network(String),
    /// The writable layer of a container: gone with it.
    Layered(String),
}

impl FsKind {
    /// The kind of a file system by its name in `/proc/self/mountinfo`.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        const NETWORK: &[&str] = &[
            "9p",
            "afs",
            "beegfs",
            "ceph",
            "cifs",
            "coda",
            "davfs",
            "glusterfs",
            "lustre",
            "ncpfs",
            "nfs",
            "nfs4",
            "smb3",
            "smbfs",
        ];
        const NETWORK_FUSE: &[&str] = &[
            "ceph",
            "cephfs",
            "curlftpfs",
            "davfs",
            "davfs2",
            "gcsfuse",
            "geesefs",
            "glusterfs",
            "goofys",
            "grpcfuse",
            "hdfs",
            "juicefs",
            "lustre",
            "moosefs",
            "mfs",
            "rclone",
            "s3fs",
            "seaweedfs",
            "smbnetfs",
            "sshfs",
            "osxfs",
        ];
        let owned = || name.to_owned();
        match name.strip_prefix("fuse.") {
            _ if matches!(name, "tmpfs" | "ramfs" | "rootfs") => Self::Volatile(owned()),
            _ if matches!(name, "overlay" | "aufs" | "fuse.fuse-overlayfs" | "fuse.unionfs") => Self::Layered(owned()),
            _ if NETWORK.contains(&name) => Self::Network(owned()),
            Some(kind) if NETWORK_FUSE.contains(&kind) => Self::Network(owned()),
            _ => Self::Local,
        }
    }

    /// The kind by the number that `statfs` gives (`linux/magic.h`); `None`: the number does not
    /// tell, as for everything in user space.
    fn of_magic(magic: u32) -> Option<Self> {
        let name = match magic {
            0x0102_1994 => "tmpfs",
            0x8584_58f6 => "ramfs",
            0x794c_7630 => "overlay",
            0x0000_6969 => "nfs",
            0x0000_517b => "smbfs",
            0xff53_4d42 => "cifs",
            0xfe53_4d42 => "smb3",
            0x0102_1997 => "9p",
            0x00c3_6400 => "ceph",
            0x5346_414f | 0x6b41_4653 => "afs",
            0x7375_7245 => "coda",
            0x0bd0_0bd0 => "lustre",
            0x0000_564c => "ncpfs",
            0x1983_0326 => "beegfs",
            0x6573_5546 => return None,
            _ => return Some(Self::Local),
        };
        Some(Self::of_name(name))
    }

    /// What is to be feared there, if anything.
    #[must_use]
    pub const fn danger(&self) -> Option<(&String, &'static str)> {
        match self {
            Self::Local => None,
            Self::Volatile(name) => Some((name, "a reboot empties it")),
            Self::Network(name) => Some((name, "a network file system may lose or mix up what two programs write")),
            Self::Layered(name) => {
                Some((name, "this layer of a container is thrown away with the container: use a volume"))
            }
        }
    }
}

/// The kind of file system that an existing file or folder lies on.
///
/// # Errors
/// As the system says.
pub fn fs_kind(path: &Path) -> io::Result<FsKind> {
    // Signed on some machines, unsigned on others; the numbers are 32 bits wide.
    let bytes = statfs(path)?.f_type.to_ne_bytes();
    let low = if cfg!(target_endian = "little") { bytes.first_chunk::<4>() } else { bytes.last_chunk::<4>() };
    let magic = low.map_or(0, |low| u32::from_ne_bytes(*low));
    if let Some(kind) = FsKind::of_magic(magic) {
        return Ok(kind);
    }
    let device = fs::metadata(path)?.dev();
    let wanted = format!("{}:{}", major(device), minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Ok(name_of_device(&mounts, &wanted).map_or(FsKind::Local, FsKind::of_name))
}

/// The type of the mount with that device number, from the text of `/proc/self/mountinfo`
/// (`man 5 proc_pid_mountinfo`: the device is the third field, the type stands after ` - `).
fn name_of_device<'a>(mounts: &'a str, device: &str) -> Option<&'a str> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (before.split(' ').nth(2)? == device).then(|| after.split(' ').next())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reboot_or_a_network_can_take_away_is_known() {
        assert_eq!(FsKind::of_magic(0x0102_1994), Some(FsKind::Volatile("tmpfs".into())));
        assert_eq!(FsKind::of_magic(0x6969), Some(FsKind::Network("nfs".into())));
        assert_eq!(FsKind::of_magic(0x794c_7630), Some(FsKind::Layered("overlay".into())));
        assert_eq!(FsKind::of_magic(0xef53), Some(FsKind::Local));
        assert_eq!(FsKind::of_name("fuse.sshfs"), FsKind::Network("fuse.sshfs".into()));
        assert_eq!(FsKind::of_name("fuse.gocryptfs"), FsKind::Local);
        assert_eq!(FsKind::of_name("fuseblk"), FsKind::Local);
    }

    #[test]
    fn a_file_system_in_user_space_is_found_by_its_device() {
        let mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                      40 22 0:35 / /mnt/a\\040b rw shared:1 - fuse.sshfs host:/x rw,user_id=0\n";
        assert_eq!(name_of_device(mounts, "0:35"), Some("fuse.sshfs"));
        assert_eq!(name_of_device(mounts, "0:36"), None);
    }

    #[test]
    fn every_existing_path_has_a_kind() {
        fs_kind(Path::new("/")).unwrap();
        assert!(fs_kind(Path::new("/no/such/folder")).is_err());
    }
}
