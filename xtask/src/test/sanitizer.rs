//! How to build for a sanitizer, which only a nightly compiler can do.

use std::env;

use crate::cargo::{Build, Finished};
use crate::workspace;

/// The build for AddressSanitizer.
///
/// # Errors
///
/// What is missing, and how to get it.
pub(super) fn address() -> Result<Build, String> {
    let nightly = Build { toolchain: Some("nightly".to_owned()), ..Build::default() };
    // rustup would otherwise fetch a toolchain nobody asked it for.
    let version = nightly.cargo("version", ["--verbose"]).env("RUSTUP_AUTO_INSTALL", "0").capture();
    let missing = |why: &str| {
        // rustup may add a backtrace.
        let why = why.lines().next().unwrap_or_default();
        format!("--sanitizer needs a nightly toolchain (`rustup toolchain install nightly --profile minimal`): {why}")
    };
    let host = match &version {
        Ok(Finished { output, .. }) if version.as_ref().is_ok_and(Finished::success) => output
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .ok_or_else(|| missing("its host is not known"))?,
        Ok(Finished { output, .. }) => return Err(missing(output)),
        Err(error) => return Err(missing(&error.to_string())),
    };
    // A closed loop leaks on purpose what the kernel may still write to; `ASAN_OPTIONS=` looks for leaks too.
    let options = env::var("ASAN_OPTIONS").unwrap_or_else(|_| "detect_leaks=0".to_owned());
    Ok(Build {
        target: Some(host.to_owned()),
        target_dir: Some(workspace::target_dir("address-sanitizer").display().to_string()),
        // Memory of tasks is not kept for others then: a use after free shall be seen.
        rustflags: Some("-Zsanitizer=address --cfg loop_sanitizer".to_owned()),
        env: vec![("ASAN_OPTIONS".to_owned(), options)],
        ..nightly
    })
}
