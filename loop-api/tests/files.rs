//! Files, on whichever backend: by the kernel where it can, else in the default executor. A program sees no difference.

mod loops;

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::pin::pin;

use loop_api::{File, LoopError};
use loops::new_loop;

/// A file that nobody else knows: it has no name any more.
fn temporary() -> std::fs::File {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("loop-files-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

fn pattern(count: usize, seed: usize) -> Vec<u8> {
    (0..count).map(|n| (n * 31 + seed * 7) as u8).collect()
}

async fn written(file: &File, bytes: Vec<u8>, offset: u64) {
    let (result, back) = file.write_all_at(bytes.clone(), offset).await;
    result.unwrap();
    assert!(back == bytes, "the buffer comes back as it was");
}

#[test]
fn what_is_written_is_read_wherever_it_is() {
    let lp = new_loop();
    let file = lp.adopt_file(temporary()).unwrap();
    lp.run_until_complete(async {
        written(&file, pattern(100_000, 1), 0).await;
        written(&file, pattern(5, 2), 1_000_000).await;
        assert!(file.read_at(100_000, 0).await.unwrap() == pattern(100_000, 1));
        assert_eq!(file.read_at(10, 99_998).await.unwrap(), [&pattern(100_000, 1)[99_998..], &[0; 8][..]].concat());
        assert_eq!(file.read_at(100, 1_000_000).await.unwrap(), pattern(5, 2));
        assert_eq!(file.read_at(100, 2_000_000).await.unwrap(), b"", "behind the end");
        assert_eq!(file.read_at(0, 0).await.unwrap(), b"");
    })
    .unwrap();
    assert_eq!(file.as_std().metadata().unwrap().len(), 1_000_005);
}

#[test]
fn a_read_appends_to_the_buffer_it_is_given() {
    let lp = new_loop();
    let file = lp.adopt_file(temporary()).unwrap();
    lp.run_until_complete(async {
        written(&file, b"world".to_vec(), 0).await;
        let (count, buf) = file.read_at_into(b"hello, ".to_vec(), 100, 0).await;
        assert_eq!((count.unwrap(), &buf[..]), (5, &b"hello, world"[..]));
    })
    .unwrap();
}

#[test]
fn many_at_once_do_not_get_into_each_others_way() {
    let lp = new_loop();
    let file = std::rc::Rc::new(lp.adopt_file(temporary()).unwrap());
    lp.run_until_complete(async {
        let jobs: Vec<_> = (0..50)
            .map(|number| {
                let file = std::rc::Rc::clone(&file);
                let job = async move {
                    let offset = number as u64 * 5000;
                    written(&file, pattern(5000, number), offset).await;
                    assert!(file.read_at(5000, offset).await.unwrap() == pattern(5000, number));
                };
                lp.create_task(job).unwrap()
            })
            .collect();
        for job in jobs {
            job.await.unwrap();
        }
    })
    .unwrap();
}

/// What the operating system says is what the program hears, and the buffer comes back.
#[test]
fn an_error_is_the_systems_and_costs_no_buffer() {
    let lp = new_loop();
    let file = lp.adopt_file(std::fs::File::open("/proc/self/exe").unwrap()).unwrap();
    lp.run_until_complete(async {
        let (result, back) = file.write_at(b"not writable".to_vec(), 0).await;
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(back, b"not writable");
    })
    .unwrap();
}

#[test]
fn a_closed_loop_refuses_and_gives_the_buffer_back() {
    let lp = new_loop();
    let file = lp.adopt_file(temporary()).unwrap();
    lp.close().unwrap();
    let mut write = pin!(file.write_at(b"late".to_vec(), 0));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready((result, back)) = write.as_mut().poll(&mut context) else { panic!("it waits") };
    assert!(matches!(result, Err(LoopError::Closed)));
    assert_eq!(back, b"late");
    assert!(matches!(lp.adopt_file(temporary()), Err(LoopError::Closed)));
}

/// A read that is given up leaves the file open for as long as the kernel, or a thread, still has it; then all is gone.
#[test]
fn a_read_that_is_given_up_leaves_nothing() {
    let lp = new_loop();
    let mut twin = temporary();
    let file = lp.adopt_file(twin.try_clone().unwrap()).unwrap();
    let number = twin.metadata().unwrap().ino();
    let open = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        links.filter(|link| std::fs::metadata(link.path()).is_ok_and(|found| found.ino() == number)).count()
    };
    assert_eq!(open(), 2);
    lp.run_until_complete(async {
        written(&file, pattern(10_000, 3), 0).await;
        for _ in 0..20 {
            let mut read = pin!(file.read_at(10_000, 0));
            assert!(futures_util::poll!(read.as_mut()).is_pending());
        }
        // A later one is answered all the same.
        assert!(file.read_at(10_000, 0).await.unwrap() == pattern(10_000, 3));
    })
    .unwrap();
    drop(file);
    lp.run_until_complete(lp.shutdown_default_executor(None)).unwrap().unwrap();
    lp.close().unwrap();
    assert_eq!(open(), 1, "the twin alone is left");
    let mut all = Vec::new();
    twin.read_to_end(&mut all).unwrap();
    assert!(all == pattern(10_000, 3), "offsets are not positions");
}
