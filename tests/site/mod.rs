//! The site as it lies on the disk.

mod pages;
mod publishing;
pub mod scene;
