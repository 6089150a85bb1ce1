//! `tidegate store snapshot`: the files of a log that nobody uses, at another place.

use super::{Looked, Refusal, Why};
use crate::{
    cli::{FAILED, bench::number, end},
    store::{
        disk::{Disk, Folder, LOCK},
        log::file_name,
        recovery,
    },
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// `tidegate store snapshot`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data folder
    dir: PathBuf,
    /// Where the copy goes: a folder that is not there yet, or is empty
    dest: PathBuf,
}

/// Copies.
pub fn run(args: Args) -> Result<ExitCode, Refusal> {
    let looked = Looked::at(&args.dir)?;
    let refuse = |error: io::Error| Refusal::new(&args.dest, error);
    if !is_free(&args.dest).map_err(refuse)? {
        return Err(Refusal::new(&args.dest, Why::NotEmpty));
    }
    // held, so that no gateway starts from half a copy
    let copy = Folder::open(args.dest.clone()).map_err(refuse)?;
    match copy_all(&looked, &copy, &args) {
        Ok((files, bytes)) => {
            println!(
                "{}: copied {} bytes in {files} {}",
                args.dest.display(),
                number(bytes as f64),
                if files == 1 { "file" } else { "files" }
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            // a part of a log must not be taken for all of it
            remove_all(&copy);
            Ok(end(
                FAILED,
                format_args!("{}: cannot be copied to: {error}", args.dest.display()),
            ))
        }
    }
}

/// Whether there is nothing at `path`, or nothing in it.
fn is_free(path: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        entries => entries?,
    };
    for entry in entries {
        // that of an earlier try, perhaps
        if entry?.file_name() != LOCK {
            return Ok(false);
        }
    }
    Ok(true)
}

/// While it is copied, a file has another name: whatever happens meanwhile, no gateway takes it for one of a log.
fn part(name: &str) -> String {
    format!("{name}.part")
}

fn copy_all(looked: &Looked, copy: &Folder, args: &Args) -> io::Result<(usize, u64)> {
    let names: Vec<_> = recovery::numbers(&looked.folder)?
        .into_iter()
        .map(file_name)
        .collect();
    let mut bytes = 0;
    for name in &names {
        bytes += fs::copy(args.dir.join(name), args.dest.join(part(name)))?;
        copy.open(&part(name))?.sync()?;
    }
    for name in &names {
        copy.rename(&part(name), name)?;
    }
    copy.sync_names()?;
    Ok((names.len(), bytes))
}

fn remove_all(copy: &Folder) {
    for name in copy.names().unwrap_or_default() {
        if name != LOCK {
            // what cannot be removed either is told of by the error in front of it
            let _ = copy.remove(&name);
        }
    }
}
