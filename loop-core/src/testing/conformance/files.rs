//! Files at offsets, where the backend does that itself.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::{Make, harness, pattern};
use crate::op::{Op, Outcome};
use crate::testing::{Harness, Started};

/// A harness and a file, if the backend supports files. One that does not says so, and queues nothing.
fn with_file(make: &mut Make<'_>) -> Option<(Harness, Arc<File>)> {
    let mut h = harness(make);
    let file = Arc::new(temporary().expect("a temporary file"));
    if h.backend().capabilities().files {
        return Some((h, file));
    }
    let read = Op::ReadAt { file: Arc::clone(&file), buf: Vec::with_capacity(8), limit: 8, offset: 0 };
    let write = Op::WriteAt { file, buf: b"x".to_vec(), offset: 0 };
    for op in [read, write] {
        let answer = h.submit(op);
        assert!(matches!(answer, Started::Unsupported(_)), "the documented answer, not {answer:?}");
    }
    assert!(h.ops().is_empty());
    None
}

/// A file that is gone when it is closed.
fn temporary() -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).open(std::env::temp_dir())
}

fn write_at(h: &mut Harness, file: &Arc<File>, bytes: &[u8], offset: u64) {
    let (result, _) = h.run(Op::WriteAt { file: Arc::clone(file), buf: bytes.to_vec(), offset });
    assert!(matches!(result, Ok(Outcome::Count(count)) if count == bytes.len()), "{result:?}");
}

fn read_at(h: &mut Harness, file: &Arc<File>, limit: usize, offset: u64) -> Vec<u8> {
    let op = Op::ReadAt { file: Arc::clone(file), buf: Vec::with_capacity(limit), limit, offset };
    match h.run(op) {
        (Ok(Outcome::Count(_)), Op::ReadAt { buf, .. }) => buf,
        (other, _) => panic!("a read came to {other:?}"),
    }
}

pub(super) fn files_are_read_and_written_or_unsupported(make: &mut Make<'_>) {
    let Some((mut h, file)) = with_file(make) else { return };
    let bytes = pattern(100_000, 9);
    write_at(&mut h, &file, &bytes[50_000..], 50_000);
    write_at(&mut h, &file, &bytes[..50_000], 0);
    assert!(read_at(&mut h, &file, 100_000, 0) == bytes);
    assert!(read_at(&mut h, &file, 100, 777) == bytes[777..877]);
}

pub(super) fn a_read_past_the_end_counts_nothing(make: &mut Make<'_>) {
    let Some((mut h, file)) = with_file(make) else { return };
    write_at(&mut h, &file, b"short", 0);
    assert_eq!(read_at(&mut h, &file, 100, 2), b"ort");
    assert_eq!(read_at(&mut h, &file, 100, 5), b"");
    assert_eq!(read_at(&mut h, &file, 100, 5_000), b"");
}
