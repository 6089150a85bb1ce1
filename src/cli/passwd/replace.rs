//! A file in the place of another: whoever reads sees the old one or the new one, whole, whatever happens meanwhile.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

/// A file beside another one, to be put in its place. As long as it is there nobody else can begin to change that one; it
/// goes when it is dropped.
pub struct Replacement {
    file: PathBuf,
    beside: PathBuf,
    new: File,
    is_in_place: bool,
}

impl Replacement {
    /// Begins to change `file`. Whatever is read of it before this may be old. Two processes cannot do this at once: the
    /// second gets an error.
    pub fn begin(file: &Path) -> io::Result<Self> {
        let file = behind_links(file)?;
        let beside = beside(&file);
        let mut options = OpenOptions::new();
        let new = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside);
        let new = new.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::other(format!(
                "somebody else is changing it; if nobody is, remove {} and try again",
                beside.display()
            )),
            _ => error,
        })?;
        Ok(Replacement {
            file,
            beside,
            new,
            is_in_place: false,
        })
    }

    /// Writes `text` in the place of what is there. Mode and owner stay as they are; a new file is for its owner only.
    pub fn finish(mut self, text: &str) -> io::Result<()> {
        fill(&mut self.new, &self.file, text)?;
        fs::rename(&self.beside, &self.file)?;
        // from now on a file of that name is somebody else's
        self.is_in_place = true;
        File::open(folder_of(&self.file))?.sync_all()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.is_in_place {
            let _ = fs::remove_file(&self.beside); // there is another error to tell
        }
    }
}

fn fill(new: &mut File, file: &Path, text: &str) -> io::Result<()> {
    match fs::metadata(file) {
        Ok(old) => {
            let made = new.metadata()?;
            if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
                fchown(&*new, Some(old.uid()), Some(old.gid())).map_err(|error| {
                    io::Error::new(error.kind(), format!("its owner cannot be kept: {error}"))
                })?;
            }
            new.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    new.write_all(text.as_bytes())?;
    new.sync_all()
}

/// The file itself, so that a link to it stays one.
fn behind_links(file: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(file.to_owned()),
        found => found,
    }
}

fn beside(file: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(".new");
    file.with_file_name(name)
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().mode() & 0o777
    }

    fn replace(file: &Path, text: &str) -> io::Result<()> {
        Replacement::begin(file)?.finish(text)
    }

    #[test]
    fn a_new_file_is_for_its_owner_and_an_old_one_keeps_its_mode_and_its_links() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("passwd"), folder.path().join("link"));
        replace(&file, "one\n").unwrap();
        assert_eq!(
            (fs::read_to_string(&file).unwrap().as_str(), mode(&file)),
            ("one\n", 0o600)
        );
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, "two\n").unwrap();
        assert_eq!(
            (fs::read_to_string(&file).unwrap().as_str(), mode(&file)),
            ("two\n", 0o640)
        );
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_another_process_is_writing_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwd");
        fs::write(&file, "old").unwrap();
        fs::write(folder.path().join(".passwd.new"), "half").unwrap();
        let error = replace(&file, "new").unwrap_err().to_string();
        assert!(
            error.contains("remove ") && error.contains(".passwd.new"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    }

    #[test]
    fn nobody_else_changes_a_file_between_the_beginning_of_a_change_and_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwd");
        let first = Replacement::begin(&file).unwrap();
        assert!(Replacement::begin(&file).is_err());
        first.finish("first").unwrap();
        drop(Replacement::begin(&file).unwrap());
        Replacement::begin(&file).unwrap().finish("second").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
