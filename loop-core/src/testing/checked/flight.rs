//! What the checker remembers of an operation in flight, and where its memory lies (**B2**).

use std::mem::MaybeUninit;

use crate::fd::FdKey;
use crate::op::{Interest, Op};
use crate::op_table::{OpKey, OpTable};
use crate::testing::harness::kind_of;

/// Written behind the part of a receive buffer that may be filled.
const MARK: [u8; 16] = *b"\xA5behind the end\x5A";

/// An operation that the backend has queued.
pub(super) struct Flight {
    pub(super) kind: &'static str,
    pub(super) fd: Option<FdKey>,
    pub(super) multishot: bool,
    /// Where its order is checked, if it is.
    pub(super) lane: Option<(FdKey, Interest)>,
    /// It asks for no bytes, so its place in the order shows nowhere.
    pub(super) moves_nothing: bool,
    /// Cancelled, or its descriptor closed.
    pub(super) cancelled: bool,
    /// `Resume` was reported, and not answered yet.
    pub(super) resumable: bool,
    /// How many polls began since then.
    pub(super) unanswered: u32,
    /// Its key was not open when it was submitted.
    pub(super) key_was_closed: bool,
    pub(super) footprint: Footprint,
}

impl Flight {
    pub(super) fn new(op: &Op, footprint: Footprint, key_was_closed: bool) -> Self {
        let lane = if op.is_multishot() { None } else { op.fd().zip(op.direction()) };
        Self {
            kind: kind_of(op),
            fd: op.fd(),
            multishot: op.is_multishot(),
            lane,
            moves_nothing: op.limit() == Some(0),
            cancelled: false,
            resumable: false,
            unanswered: 0,
            key_was_closed,
            footprint,
        }
    }
}

/// Where an operation's memory lies.
#[derive(PartialEq, Eq)]
pub(super) struct Footprint {
    slot: usize,
    /// Start, length and capacity of the buffer.
    buffer: Option<(usize, usize, usize)>,
    /// A digest of where the pieces of a gathered send lie.
    pieces: u64,
    marked: bool,
}

impl Footprint {
    /// Takes note of it, and marks what must not be written.
    ///
    /// # Panics
    ///
    /// If there is less room than the operation says.
    pub(super) fn take(op: &mut Op) -> Self {
        let mut marked = false;
        if let Op::Recv { buf, limit, .. } | Op::RecvFrom { buf, limit, .. } | Op::ReadAt { buf, limit, .. } = op {
            let room = buf.spare_capacity_mut();
            assert!(room.len() >= *limit, "caller: room for {} bytes, and a limit of {limit}", room.len());
            if let Some(behind) = room[*limit..].first_chunk_mut() {
                *behind = MARK.map(MaybeUninit::new);
                marked = true;
            }
        }
        Self { marked, ..Self::of(op) }
    }

    fn of(op: &Op) -> Self {
        let mut pieces = 0;
        let buffer = match op {
            Op::Recv { buf, .. }
            | Op::RecvFrom { buf, .. }
            | Op::ReadAt { buf, .. }
            | Op::Send { buf, .. }
            | Op::SendTo { buf, .. }
            | Op::WriteAt { buf, .. } => Some(buf),
            Op::SendVectored { bufs, .. } => {
                for part in bufs.iter().flat_map(|piece| [piece.as_ptr() as usize, piece.len()]) {
                    pieces = (pieces ^ part as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
                }
                return Self {
                    slot: std::ptr::from_ref(op) as usize,
                    buffer: Some((bufs.as_ptr() as usize, bufs.len(), bufs.capacity())),
                    pieces,
                    marked: false,
                };
            }
            _ => None,
        };
        Self {
            slot: std::ptr::from_ref(op) as usize,
            buffer: buffer.map(|buf| (buf.as_ptr() as usize, buf.len(), buf.capacity())),
            pieces,
            marked: false,
        }
    }

    /// # Panics
    ///
    /// If the memory is not as it was.
    pub(super) fn assert_unchanged(&self, ops: &OpTable, key: OpKey, kind: &str) {
        let Some(op) = ops.get(key) else {
            panic!("B2: {kind} {key:?} left the table before its final completion");
        };
        let now = Self { marked: self.marked, ..Self::of(op) };
        assert!(now == *self, "B2: {kind} {key:?} or its buffer was moved, replaced or resized in flight");
        if self.marked
            && let Op::Recv { buf, limit, .. } | Op::RecvFrom { buf, limit, .. } | Op::ReadAt { buf, limit, .. } = op
        {
            let behind = buf.as_ptr().wrapping_add(buf.len() + limit).cast::<[u8; 16]>();
            // SAFETY: `take` wrote these sixteen bytes, which lie within the capacity, and the buffer is the
            // same, as just asserted; nobody may write there (B2), and if somebody did they are still bytes.
            let behind = unsafe { behind.read() };
            assert!(behind == MARK, "B7: {kind} {key:?} wrote behind its limit of {limit} bytes");
        }
    }
}
