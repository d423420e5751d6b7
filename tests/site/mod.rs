//! The site as it lies on the disk.

mod corrections;
mod pages;
mod publishing;
pub mod scene;
