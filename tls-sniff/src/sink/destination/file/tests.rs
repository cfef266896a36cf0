//! Files that are renamed, moved, cut and full.

use std::{fs::File, io::Write as _};

use super::*;

fn write(file: &mut LogFile, lines: &str) -> Lost {
    file.write(lines.as_bytes(), &Control::default()).unwrap()
}

/// What is in `path`, empty without it.
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_large_file_is_renamed_and_no_line_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.json");
    let of = |number: u32| folder.path().join(format!("events.json.{number}"));
    // As after a crash.
    fs::write(&path, "half").unwrap();
    let rotation = Rotation { max_size: Some(10), max_age: None, keep: Some(2) };
    let mut file = LogFile::open(path.clone(), rotation).unwrap();
    assert_eq!(
        write(&mut file, "one\ntwo\nthree\nfour, which is too long\nfive\n"),
        Lost::default()
    );
    assert_eq!(read(&path), "five\n");
    assert_eq!(read(&of(1)), "four, which is too long\n");
    assert_eq!(read(&of(2)), "two\nthree\n");
    assert!(!of(3).exists());
    write(&mut file, "six\n");
    assert_eq!((read(&path).as_str(), read(&of(1)).len()), ("five\nsix\n", 24));
    // By age, after the first line of the file is old enough.
    file.set_rotation(Rotation { max_size: None, max_age: Some(60), keep: Some(2) });
    write(&mut file, "seven\n");
    file.open.begun -= Duration::from_secs(61);
    write(&mut file, "eight\n");
    assert_eq!((read(&path).as_str(), read(&of(1)).as_str()), ("eight\n", "five\nsix\nseven\n"));
}

/// Files of three lines, of which two are kept, beside the one at hand.
fn rotating(folder: &Path) -> (LogFile, PathBuf, impl Fn(u32) -> PathBuf) {
    let path = folder.join("x");
    let of = {
        let folder = folder.to_owned();
        move |number: u32| folder.join(format!("x.{number}"))
    };
    fs::write(of(1), "newer\n").unwrap();
    fs::write(of(2), "older\n").unwrap();
    let rotation = Rotation { max_size: Some(4), max_age: None, keep: Some(2) };
    (LogFile::open(path.clone(), rotation).unwrap(), path, of)
}

#[test]
fn a_name_that_somebody_else_took_moves_nothing_that_is_kept() {
    for replaced in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, path, of) = rotating(folder.path());
        write(&mut file, "one\n");
        fs::remove_file(&path).unwrap();
        if replaced {
            fs::write(&path, "theirs\n").unwrap();
        }
        write(&mut file, "two\n");
        let expected = if replaced { "theirs\ntwo\n" } else { "two\n" };
        assert_eq!(read(&path), expected);
        assert_eq!((read(&of(1)).as_str(), read(&of(2)).as_str()), ("newer\n", "older\n"));
    }
}

#[test]
fn a_rename_that_keeps_failing_costs_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (mut file, path, of) = rotating(folder.path());
    // The first step fails: nothing is renamed to a directory with something in it.
    fs::create_dir(of(0)).unwrap();
    fs::write(of(0).join("y"), "").unwrap();
    fs::rename(of(2), folder.path().join("kept")).unwrap();
    fs::create_dir(of(2)).unwrap();
    for line in ["one\n", "two\n", "three\n"] {
        file.not_before = None;
        write(&mut file, line);
        assert_eq!(read(&of(1)), "newer\n");
    }
    assert_eq!(read(&path), "one\ntwo\nthree\n");
    let names = |from: &Path, to: &Path| {
        let (from, to) = (from.display(), to.display());
        format!("{from} cannot be renamed to {to}: Is a directory (os error 21)")
    };
    assert_eq!(file.rotate().unwrap_err().to_string(), names(&path, &of(0)));
    // A later step fails: what is on its way stays, and what comes goes on.
    fs::remove_dir_all(of(0)).unwrap();
    for line in ["four\n", "five\n", "six\n"] {
        file.not_before = None;
        write(&mut file, line);
        assert_eq!(read(&of(1)), "newer\n");
        assert_eq!(read(&of(0)), "one\ntwo\nthree\n");
    }
    assert_eq!(file.rotate().unwrap_err().to_string(), names(&of(1), &of(2)));
    assert_eq!(read(&path), "four\nfive\nsix\n");
    fs::remove_dir(of(2)).unwrap();
    file.not_before = None;
    write(&mut file, "seven\n");
    let all = [&path, &of(1), &of(2)].map(|path| read(path));
    assert_eq!(all, ["seven\n", "four\nfive\nsix\n", "one\ntwo\nthree\n"]);
    assert!(!of(0).exists());
}

#[test]
fn what_a_crash_left_is_kept_and_a_link_is_no_file() {
    let (folder, links) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, path, of) = rotating(folder.path());
    fs::write(of(0), "left\n").unwrap();
    let link = links.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let rotation = Rotation { max_size: Some(4), max_age: None, keep: Some(2) };
    let mut file = LogFile::open(link.clone(), rotation).unwrap();
    assert_eq!((read(&of(1)).as_str(), read(&of(2)).as_str()), ("left\n", "newer\n"));
    assert_eq!(file.directory().unwrap(), folder.path().canonicalize().unwrap());
    write(&mut file, "one\ntwo\n");
    assert_eq!((read(&link).as_str(), read(&of(1)).as_str()), ("two\n", "one\n"));
    assert!(link.is_symlink());
}

#[test]
fn a_file_that_was_moved_gets_what_comes_until_it_is_opened_again() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("x"), folder.path().join("x-20261125"));
    let mut file = LogFile::open(path.clone(), Rotation::default()).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & !0o640 & 0o7777, 0);
    write(&mut file, "one\n");
    fs::rename(&path, &moved).unwrap();
    write(&mut file, "two\n");
    file.reopen();
    write(&mut file, "three\n");
    assert_eq!((read(&moved).as_str(), read(&path).as_str()), ("one\ntwo\n", "three\n"));
    // Its directory is gone: the file is still there.
    fs::rename(&path, folder.path().join("y")).unwrap();
    fs::create_dir(&path).unwrap();
    file.reopen();
    assert_eq!(write(&mut file, "four\n"), Lost::default());
    assert_eq!(read(&folder.path().join("y")), "three\nfour\n");
    fs::remove_dir(&path).unwrap();
    file.not_before = None;
    write(&mut file, "five\n");
    assert_eq!(read(&path), "five\n");
}

#[test]
fn a_file_that_was_removed_is_made_again_or_costs_what_comes() {
    for max_size in [None, Some(1 << 20), Some(4)] {
        let folder = tempfile::tempdir().unwrap();
        let (directory, path) = (folder.path().join("d"), folder.path().join("d/x"));
        fs::create_dir(&directory).unwrap();
        let rotation = Rotation { max_size, max_age: None, keep: None };
        let mut file = LogFile::open(path.clone(), rotation).unwrap();
        write(&mut file, "one\n");
        fs::remove_file(&path).unwrap();
        assert_eq!(write(&mut file, "two\n"), Lost::default());
        assert_eq!(read(&path), "two\n");
        // Another name is still of use to somebody.
        let other = folder.path().join("other");
        fs::hard_link(&path, &other).unwrap();
        fs::remove_file(&path).unwrap();
        file.set_rotation(Rotation::default());
        assert_eq!(write(&mut file, "three\n"), Lost::default());
        assert_eq!(read(&other), "two\nthree\n");
        // SIGHUP finds no directory, and the file is still there; then it is not.
        fs::remove_dir(&directory).unwrap();
        file.reopen();
        assert_eq!(write(&mut file, "four\n"), Lost::default());
        assert_eq!(read(&other), "two\nthree\nfour\n");
        fs::remove_file(&other).unwrap();
        file.set_rotation(rotation);
        for (asked, events, lines) in [(false, 2, "five\nsix\n"), (true, 1, "seven\n")] {
            if asked {
                file.reopen();
            }
            assert_eq!(write(&mut file, lines), Lost { write: events, ..Lost::default() });
        }
        // Not with each batch is it tried again.
        fs::create_dir(&directory).unwrap();
        assert_eq!(write(&mut file, "eight\n"), Lost { write: 1, ..Lost::default() });
        file.not_before = None;
        assert_eq!(write(&mut file, "nine\n"), Lost::default());
        assert_eq!(read(&path), "nine\n");
        let failed = file.end().unwrap();
        assert_eq!(failed.kind(), ErrorKind::NotFound);
        assert!(
            failed.to_string().starts_with("it was removed and cannot be opened again: No such")
        );
    }
}

#[test]
fn one_process_writes_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let mut file = LogFile::open(path.clone(), Rotation::default()).unwrap();
    let refused = || LogFile::open(path.clone(), Rotation::default()).err().unwrap();
    assert_eq!(refused().to_string(), format!("another process writes {}", path.display()));
    assert_eq!(refused().kind(), ErrorKind::ResourceBusy);
    // Its own lock is no reason not to go on.
    file.reopen();
    write(&mut file, "one\n");
    assert!(!file.moved);
    fs::rename(&path, folder.path().join("moved")).unwrap();
    file.reopen();
    write(&mut file, "two\n");
    assert_eq!((read(&path).as_str(), refused().kind()), ("two\n", ErrorKind::ResourceBusy));
    drop(file);
    LogFile::open(path, Rotation::default()).unwrap();
}

#[test]
fn what_a_disk_refuses_is_counted_and_leaves_no_half_line() {
    let mut full = LogFile::open("/dev/full".into(), Rotation::default()).unwrap();
    assert!(full.end().is_none());
    assert_eq!(write(&mut full, "one\ntwo\n"), Lost { write: 2, ..Lost::default() });
    // A run that has lost events by it does not end well.
    assert_eq!(full.end().unwrap().raw_os_error(), Some(28));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let mut file = LogFile::open(path.clone(), Rotation::default()).unwrap();
    write(&mut file, "one\n");
    // As after a write that the disk took a part of, and would not have cut.
    file.open.file.write_all(b"tw").unwrap();
    file.open.torn = 2;
    write(&mut file, "two\n");
    assert_eq!(read(&path), "one\ntwo\n");
    // As logrotate's copytruncate: before a write that the disk took a part of, and after it.
    for (before, expected) in [(true, "three\n"), (false, "three\nthree\n")] {
        if before {
            File::create(&path).unwrap();
        }
        file.open.file.write_all(b"thr").unwrap();
        file.open.torn = 3;
        file.open.cut().unwrap();
        write(&mut file, "three\n");
        assert_eq!(read(&path), expected);
    }
    file.open.file.write_all(b"fo").unwrap();
    file.open.torn = 2;
    File::create(&path).unwrap();
    write(&mut file, "four\n");
    assert_eq!(read(&path), "four\n");
    // And a file that is empty again is not full.
    file.set_rotation(Rotation { max_size: Some(6), max_age: None, keep: None });
    File::create(&path).unwrap();
    write(&mut file, "five\n");
    assert_eq!(read(&path), "five\n");
    assert!(!folder.path().join("x.1").exists());
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(LogFile::open(fifo, Rotation::default()).is_err());
}
