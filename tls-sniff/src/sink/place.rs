//! Whether two paths lead to one file, or will once it is there.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::directory_of;

/// As many links lead from one to the next at most; of the kernel, too.
const MOST_LINKS: usize = 40;

/// What `path` stands for in its directory, whatever way leads there; `None` if there is no such directory.
pub(crate) fn entry(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?;
    Some(directory_of(path).canonicalize().ok()?.join(name))
}

/// The file that is written by this name: at the end of links, if it is one, whether it is there or not.
pub(crate) fn target(path: &Path) -> Option<PathBuf> {
    let mut at = entry(path)?;
    for _ in 0..MOST_LINKS {
        match at.read_link() {
            Ok(next) => at = entry(&directory_of(&at).join(next))?,
            Err(_) => return Some(at),
        }
    }
    None
}

/// Whether two names are of one file, or will be once it is there. Of devices they may be two: what comes by one of them is not
/// in the way of the other.
pub(crate) fn is_same_place(one: &Path, other: &Path) -> bool {
    let same =
        |of: fn(&Path) -> Option<PathBuf>| of(one).filter(|it| of(other).as_ref() == Some(it));
    let is_device = |path: &PathBuf| path.metadata().is_ok_and(|about| !about.is_file());
    one == other
        || is_same_file(one, other)
        || same(entry).is_some()
        || same(target).is_some_and(|it| !is_device(&it))
}

/// Whether two names are of one file that is there.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| {
        let about = fs::metadata(path).ok()?;
        about.is_file().then(|| (about.dev(), about.ino()))
    };
    file(one).is_some_and(|one| file(other) == Some(one))
}

/// Whether the file `path`, when it is renamed to its own name and a number behind it, takes the name that `other` is
/// or leads to.
pub(crate) fn is_renamed_to(path: &Path, other: &Path) -> bool {
    let Some(renamed) = target(path) else { return false };
    let takes = |other: PathBuf| {
        let number = (other.as_os_str().as_encoded_bytes())
            .strip_prefix(renamed.as_os_str().as_encoded_bytes())
            .and_then(|number| number.strip_prefix(b"."));
        number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
    };
    [entry(other), target(other)].into_iter().flatten().any(takes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn one_file_has_many_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("s")).unwrap();
        fs::write(at("there"), "").unwrap();
        fs::hard_link(at("there"), at("hard")).unwrap();
        symlink("s/../there", at("link")).unwrap();
        // Of files that are not there yet.
        symlink("s/new", at("dangling")).unwrap();
        symlink("dangling", at("chain")).unwrap();
        symlink("circle", at("circle")).unwrap();
        symlink("/dev/null", at("null")).unwrap();
        for (one, other, same) in [
            ("x", "s/../x", true),
            ("there", "./s/../there", true),
            ("there", "hard", true),
            ("hard", "link", true),
            ("s/new", "dangling", true),
            ("chain", "s/./new", true),
            ("circle", "s/../circle", true),
            ("x", "y", false),
            ("s/x", "x", false),
            ("dangling", "new", false),
            ("circle", "x", false),
            ("none/x", "none/../x", false),
            ("null", "/dev/null", false),
            ("/dev/null", "/dev/../dev/null", true),
        ] {
            let [first, second] = [at(one), at(other)];
            assert_eq!(is_same_place(&first, &second), same, "{one} {other}");
            assert_eq!(is_same_place(&second, &first), same, "{other} {one}");
        }
    }

    #[test]
    fn a_number_behind_the_name_is_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("s")).unwrap();
        symlink("s/x", at("link")).unwrap();
        symlink("s/x.3", at("numbered")).unwrap();
        symlink("y", at("x.4")).unwrap();
        for (renamed, other, taken) in [
            ("x", "x.1", true),
            ("x", "s/../x.10", true),
            ("link", "s/x.0", true),
            ("link", "numbered", true),
            // The link would be lost.
            ("x", "x.4", true),
            ("link", "link.1", false),
            ("x", "x", false),
            ("x", "x.", false),
            ("x", "x.1a", false),
            ("x", "y.1", false),
            ("x", "s/x.1", false),
            ("x", "x1", false),
        ] {
            assert_eq!(is_renamed_to(&at(renamed), &at(other)), taken, "{renamed} {other}");
        }
    }
}
