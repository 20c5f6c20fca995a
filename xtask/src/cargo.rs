//! One run of cargo: what is asked of it, and what came out.
//!
//! A run is shown as a line that can be pasted into a shell, its output is passed through as it
//! comes and kept, and it ends after [`TIME_LIMIT`]: a test that hangs is a failure, not a
//! command that never returns.

use std::ffi::OsString;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, fmt, thread};

use crate::interrupt::Group;
use crate::workspace;

/// How long one run may take, building included.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How the crates are built, where that differs from cargo's defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Build {
    /// A toolchain of rustup's other than the current one.
    pub(crate) toolchain: Option<String>,
    /// The target triple. Naming it, even the host's, keeps `rustflags` from build scripts and macros.
    pub(crate) target: Option<String>,
    /// The directory for builds that share nothing with the ordinary ones.
    pub(crate) target_dir: Option<String>,
    /// Added to the RUSTFLAGS of the environment.
    pub(crate) rustflags: Option<String>,
    /// Environment variables for whatever runs.
    pub(crate) env: Vec<(String, String)>,
}

impl Build {
    /// A run of `cargo SUBCOMMAND ARGS` that builds this way.
    pub(crate) fn cargo<'a>(&self, subcommand: &str, args: impl IntoIterator<Item = &'a str>) -> Cargo {
        let toolchain = self.toolchain.as_ref().map(|toolchain| format!("+{toolchain}"));
        let mut cargo = Cargo { args: toolchain.into_iter().collect(), env: self.env.clone() };
        cargo = cargo.arg(subcommand).args(args);
        if let Some(target) = &self.target {
            cargo = cargo.arg("--target").arg(target);
        }
        if let Some(directory) = &self.target_dir {
            cargo = cargo.arg("--target-dir").arg(directory);
        }
        if let Some(flags) = &self.rustflags {
            let inherited = env::var("RUSTFLAGS").unwrap_or_default();
            cargo = cargo.env("RUSTFLAGS", format!("{inherited} {flags}").trim());
        }
        cargo
    }
}

/// A run of cargo to be.
#[derive(Clone, Debug)]
pub(crate) struct Cargo {
    args: Vec<String>,
    env: Vec<(String, String)>,
}

/// A run of cargo that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// How cargo ended; `None` if the time limit ended it.
    pub(crate) status: Option<ExitStatus>,
    /// The standard output, and with [`Cargo::capture`] the standard error too.
    pub(crate) output: String,
    /// How long it took.
    pub(crate) elapsed: Duration,
}

impl Finished {
    /// Whether cargo ended by itself, and well.
    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// How it ended, in words.
    pub(crate) fn outcome(&self) -> String {
        match self.status {
            Some(status) => status.to_string(),
            None => format!("ended after {} minutes, the time limit", TIME_LIMIT.as_secs() / 60),
        }
    }
}

impl Cargo {
    /// Adds an argument.
    pub(crate) fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub(crate) fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }

    /// Runs it with its output on the terminal.
    pub(crate) fn stream(&self) -> io::Result<Finished> {
        eprintln!("\n$ {self}");
        let (reader, writer) = io::pipe()?;
        self.run(self.command().stdout(writer), reader, true)
    }

    /// Runs it with its standard output kept from the terminal.
    pub(crate) fn read(&self) -> io::Result<Finished> {
        eprintln!("\n$ {self}");
        let (reader, writer) = io::pipe()?;
        self.run(self.command().stdout(writer), reader, false)
    }

    /// Runs it with all of its output kept from the terminal, without colours.
    pub(crate) fn capture(&self) -> io::Result<Finished> {
        eprintln!("\n$ {self}");
        let (reader, writer) = io::pipe()?;
        let errors = writer.try_clone()?;
        self.run(self.command().env("CARGO_TERM_COLOR", "never").stdout(writer).stderr(errors), reader, false)
    }

    fn command(&self) -> Command {
        // The cargo that runs this knows where it lies, but only rustup's understands `+toolchain`.
        let rustup = self.args.first().is_some_and(|arg| arg.starts_with('+'));
        let own = env::var_os("CARGO").filter(|_| !rustup);
        let mut command = Command::new(own.unwrap_or_else(|| OsString::from("cargo")));
        command.args(&self.args).current_dir(workspace::root()).stdin(Stdio::null());
        // A run depends on what it says, not on a choice of backend left in the environment.
        command.env_remove("LOOP_BACKEND").env_remove("LOOP_CHECKED");
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }

    fn run(&self, command: &mut Command, reader: PipeReader, echo: bool) -> io::Result<Finished> {
        let started = Instant::now();
        let mut group = Group::spawn(command)?;
        // The command holds this side's writing ends; with them open the reader would never see the end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let output = thread::spawn(move || collect(reader, echo));
        let status = loop {
            if let Some(status) = group.child().try_wait()? {
                break Some(status);
            }
            if started.elapsed() > TIME_LIMIT {
                group.end();
                group.child().wait()?;
                break None;
            }
            thread::sleep(Duration::from_millis(20));
        };
        // Processes that a test has left behind hold the writing end too.
        drop(group);
        let output = output.join().unwrap_or_default();
        Ok(Finished { status, output: String::from_utf8_lossy(&output).into_owned(), elapsed: started.elapsed() })
    }
}

/// Reads to the end, passing on every piece as it comes, for a test harness writes half lines.
fn collect(mut reader: PipeReader, echo: bool) -> Vec<u8> {
    let mut collected = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return collected,
            Ok(length) => {
                collected.extend_from_slice(&piece[..length]);
                if echo {
                    // Nobody may be listening (`| head`); the tests count all the same.
                    let mut stdout = io::stdout().lock();
                    _ = stdout.write_all(&piece[..length]).and_then(|()| stdout.flush());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return collected,
        }
    }
}

impl fmt::Display for Cargo {
    /// The line to paste into a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.env {
            write!(f, "{key}={} ", quoted(value))?;
        }
        f.write_str("cargo")?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

/// A word as a shell needs it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./,:".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_shown_as_a_line_for_the_shell() {
        let cargo = Build::default().cargo("test", ["--test", "*"]).env("LOOP_BACKEND", "epoll").arg("it's");
        assert_eq!(cargo.to_string(), r"LOOP_BACKEND=epoll cargo test --test '*' 'it'\''s'");
    }

    #[test]
    fn a_toolchain_comes_first_and_flags_go_to_the_environment() {
        let build = Build {
            toolchain: Some("nightly".into()),
            target: Some("some-triple".into()),
            target_dir: Some("/tmp/elsewhere".into()),
            rustflags: Some("-Zsanitizer=address".into()),
            env: vec![("ASAN_OPTIONS".into(), "detect_leaks=0".into())],
        };
        let shown = build.cargo("test", ["--lib"]).to_string();
        assert!(
            shown.ends_with("cargo +nightly test --lib --target some-triple --target-dir /tmp/elsewhere"),
            "{shown}"
        );
        assert!(shown.starts_with("ASAN_OPTIONS=detect_leaks=0 RUSTFLAGS="), "{shown}");
        assert!(shown.contains("-Zsanitizer=address"), "{shown}");
    }
}
