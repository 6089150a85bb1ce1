//! The store alone, on disks that crash, fail, fill up and rot: what it said was durable must be there.

#[path = "../support/random.rs"]
mod random;

mod disk;
mod faults;
mod golden;
mod interval;
mod rot;
mod run;
mod states;
mod together;
