//! What a loop opens, it closes. A program of its own, with a single test: descriptors are counted.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use loop_api::new_event_loop;

/// The descriptors of this process that are open, and what they are.
fn open() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let mut open: Vec<String> = entries
        .filter_map(|entry| {
            let entry = entry.unwrap();
            // The directory that is being read is gone when its link is looked at.
            let target = std::fs::read_link(entry.path()).ok()?;
            (!target.starts_with("/proc")).then(|| format!("{} {}", entry.file_name().display(), target.display()))
        })
        .collect();
    open.sort();
    open
}

/// LIFE-29.
#[test]
fn close_closes_every_descriptor_that_the_loop_opened() {
    let (reader, _writer) = UnixStream::pair().unwrap();
    // Whatever is opened once per process is open after this.
    new_event_loop().unwrap().close().unwrap();
    let before = open();
    for _ in 0..3 {
        let lp = new_event_loop().unwrap();
        assert!(open().len() > before.len(), "a loop holds descriptors");
        lp.add_reader(&reader, || ()).unwrap();
        lp.call_later(Duration::from_secs(3600), || ()).unwrap();
        lp.run_until_complete(lp.sleep_for(Duration::from_micros(10))).unwrap();
        // Neither handles of the closed loop nor what was registered with it keep anything open.
        let (_handle, _future) = (lp.handle(), lp.create_future::<()>());
        lp.close().unwrap();
        assert_eq!(open(), before, "after close");
    }
    drop(new_event_loop().unwrap());
    assert_eq!(open(), before, "after an unclosed loop was let go");
}
