//! A disk beneath SQLite that loses power, fills up and fails, for tests.
//!
//! SQLite reaches files through a VFS. [`Disk::mount`] puts a simulated disk
//! under a folder of this process: every database that is opened in that folder
//! lives on it, with no change to the program that opens it. All other paths go
//! to the operating system as ever.
//!
//! The disk writes down every call that changes it ([`Call`]) and can fail any
//! one of them ([`Fault`]). What a power loss leaves follows from the calls: a
//! [`Replay`] knows after each of them what is durable and what is only written,
//! and draws from that an [`Image`] that a real disk could show ([`Loss`]).
//!
//! What the simulation promises, and what it leaves open:
//! - A sync makes all earlier writes of *that file* durable, and the name of a
//!   file that was new.
//! - Before a sync each write may be there or not, whole or torn, in any order.
//! - A write never harms bytes beside it (`SQLITE_IOCAP_POWERSAFE_OVERWRITE`),
//!   which is what SQLite's own Unix VFS takes for granted too.
//! - After a failed sync the file's unsynced writes are read back as if they
//!   were there, and never reach the disk, not even with a later sync that
//!   succeeds: so does Linux.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod disk;
mod dump;
mod file;
mod image;
mod locks;
mod loss;
mod random;
mod replay;
mod shared;
mod vfs;

pub use disk::{Call, Disk, Fault};
pub use dump::{Contents, Database, Dump, read};
pub use image::Image;
pub use loss::Loss;
pub use random::Random;
pub use replay::Replay;
