//! What a backend is made of: sizes, and what to pretend the kernel lacks.
//!
//! Programs get [`Options::default`]. Tests make queues and pools so small that they overflow, and hide what the
//! kernel has, so that every fallback and every refusal stays exercised on a kernel that needs none of them.

/// Sizes, and what is hidden.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Options {
    /// Entries of the submission queue.
    pub submissions: u32,
    /// Entries of the completion queue.
    pub completions: u32,
    /// How many receive buffers there are: a power of two, two at least.
    pub buffers: u16,
    /// How many bytes each has.
    pub buffer_size: usize,
    /// `send_now` and `recv_now` answer.
    pub synchronous: bool,
    /// No send is waited for: see `quiet`.
    pub patient: bool,
    /// From how many bytes at once on a receiver is switched to receives by call: see `bulk`.
    pub bulk: usize,
    /// What to take for missing, by the kernel's names.
    pub hidden: Vec<&'static str>,
    /// What every `io_uring_setup` is to fail with.
    pub refused: Option<i32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            submissions: 256,
            completions: 4096,
            buffers: 512,
            buffer_size: 64 * 1024,
            synchronous: false,
            patient: false,
            bulk: crate::bulk::LARGE,
            hidden: Vec::new(),
            refused: None,
        }
    }
}

impl Options {
    pub(crate) fn hides(&self, name: &str) -> bool {
        self.hidden.contains(&name)
    }
}
