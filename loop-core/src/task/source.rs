//! Where a task was made, in four bytes.
//!
//! Such a place and the table of the task's functions are constants of the program, and so lie no further apart than it is
//! large: what a task keeps is how far. Where that does not fit, because they are of different shared objects, the extras have
//! the place itself.

use std::panic::Location;
use std::ptr;

use super::header::{Header, TaskPtr, TaskVTable};

/// How far from the task's table the place is, in bytes; zero, which no place has, where the extras know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Source(i32);

impl Source {
    const IN_EXTRAS: Self = Self(0);

    #[inline(always)]
    pub(super) fn new(place: &'static Location<'static>, table: *const TaskVTable) -> Self {
        let distance = ptr::from_ref(place).expose_provenance().wrapping_sub(table.addr()).cast_signed();
        i32::try_from(distance).map_or(Self::IN_EXTRAS, Self)
    }

    /// # Safety
    ///
    /// It was made with this table.
    unsafe fn get(self, table: *const TaskVTable) -> Option<&'static Location<'static>> {
        if self == Self::IN_EXTRAS {
            return None;
        }
        let address = table.addr().wrapping_add_signed(self.0 as isize);
        // SAFETY: the place it was made of, which was exposed then.
        Some(unsafe { &*ptr::with_exposed_provenance(address) })
    }
}

impl Header {
    /// Where the task was made.
    pub(crate) fn source(&self) -> &'static Location<'static> {
        // SAFETY: its own table.
        let near = unsafe { self.source.get(self.vtable()) };
        near.or_else(|| self.look_at_extras(|extras| extras.source)).expect("a task knows where it was made")
    }

    /// Of a new task: what does not fit goes elsewhere.
    ///
    /// # Safety
    ///
    /// The task is alive, and this is its loop's thread.
    #[inline(always)]
    pub(super) unsafe fn keep_source(task: TaskPtr, place: &'static Location<'static>) {
        // SAFETY: the caller's.
        let header = unsafe { task.as_ref() };
        if header.source == Source::IN_EXTRAS {
            header.keep_far_source(place);
        }
    }

    #[cold]
    #[inline(never)]
    fn keep_far_source(&self, place: &'static Location<'static>) {
        self.with_extras(|extras| extras.source = Some(place));
    }
}

#[cfg(all(test, feature = "testing", not(loom)))]
mod tests {
    use super::*;
    use crate::EventLoop;
    use crate::testing::VirtualBackend;

    #[test]
    fn a_place_is_found_again_or_said_to_be_elsewhere() {
        let lp = EventLoop::new(Box::new(VirtualBackend::new()));
        let task = lp.create_task(async {}).unwrap();
        let table = ptr::from_ref(task.header().vtable());
        let here = Location::caller();
        // SAFETY: with the table that it was made with.
        let found = unsafe { Source::new(here, table).get(table) };
        assert!(found.is_none_or(|place| ptr::eq(place, here)));
        assert!(found.is_some() || cfg!(miri), "what is in one program is near");
        for distance in [1_isize << 40, -1 << 40, isize::MAX] {
            let far = table.wrapping_byte_offset(distance);
            assert!(Source::new(here, far) == Source::IN_EXTRAS);
        }
        lp.run_until_complete(task).unwrap().unwrap();
        lp.close().unwrap();
    }

    /// Whether or not it is near.
    #[test]
    fn a_task_knows_where_it_was_made_to_the_last() {
        let lp = EventLoop::new(Box::new(VirtualBackend::new()));
        let (task, line) = (lp.create_task(std::future::pending::<()>()).unwrap(), line!());
        assert_eq!((task.source().file(), task.source().line()), (file!(), line));
        let place = task.source();
        // As one of another shared object would be.
        task.header().keep_far_source(place);
        assert!(ptr::eq(task.header().look_at_extras(|extras| extras.source).unwrap(), place));
        task.set_name("mine");
        lp.close().unwrap();
        assert!(ptr::eq(task.header().look_at_extras(|extras| extras.source).unwrap(), place));
        assert_eq!((task.name().as_str(), task.source().line()), ("mine", line));
    }
}
