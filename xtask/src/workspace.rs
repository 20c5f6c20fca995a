//! Where things lie: the workspace, its target directory, the integration tests of its crates.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The crate that programs depend on, whose integration tests run once per backend.
pub(crate) const API: &str = "loop-api";

/// Its integration test that compares it with CPython.
pub(crate) const ORACLE: &str = "oracle";

/// The workspace's root directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// A directory for the artefacts of builds that share nothing with the ordinary ones.
pub(crate) fn target_dir(name: &str) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    root().join(target).join(name)
}

/// The crates whose integration tests need no choice of a backend: all that lie beside [`API`].
pub(crate) fn crates() -> Vec<String> {
    let mut crates: Vec<String> = entries(root())
        .into_iter()
        .filter(|path| path.join("Cargo.toml").is_file())
        .filter_map(|path| name(&path))
        .filter(|name| name != API)
        .collect();
    crates.sort();
    crates
}

/// The integration tests of a crate, which cargo finds as `tests/NAME.rs` and `tests/NAME/main.rs`.
///
/// Asked for because `cargo test --test` is an error where there are none.
pub(crate) fn integration_tests(package: &str) -> BTreeSet<String> {
    entries(&root().join(package).join("tests"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file())
        .filter_map(|path| name(&path))
        .collect()
}

/// The entries of a directory; none where it does not exist.
fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).map_or_else(|_| Vec::new(), |entries| entries.flatten().map(|entry| entry.path()).collect())
}

fn name(path: &Path) -> Option<String> {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned())
}
