//! How much memory a process has made its own.

use std::fs;

/// The bytes of a process's own memory that it has touched: its `Anonymous`, which is exact where `VmRSS` is rounded.
pub(crate) fn own_memory(pid: u32) -> Result<u64, String> {
    let file = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    anonymous(&text).ok_or_else(|| format!("{file} does not say"))
}

fn anonymous(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_and_in_bytes() {
        let text = "00400000-7fff00000000 ---p 00000000 00:00 0 [rollup]\nRss:     40 kB\nAnonymous:       12 kB\nSwap: 0 kB\n";
        assert_eq!(anonymous(text), Some(12 * 1024));
        assert_eq!(anonymous("Rss: 40 kB"), None);
    }

    #[test]
    fn what_is_touched_counts() {
        let before = own_memory(std::process::id()).unwrap();
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = own_memory(std::process::id()).unwrap();
        assert!(after >= before + block.len() as u64 / 2, "{before} {after}");
    }
}
