//! The site as it lies on the disk.

mod publishing;
pub mod scene;
