//! The children of a gather, each with its type: an iterator of one type, or a tuple of several.

use std::cell::RefCell;
use std::rc::Rc;

use loop_core::{EventLoop, FutureRef, Result, TaskError};

use super::gate::Gate;
use crate::tasks::child::Child;

/// What [`gather`](super::gather) takes: an iterator of futures, or a tuple of up to ten. `K` tells which of the two it
/// is, `J` what counts as a failure; both are found by the compiler.
pub trait Children<K, J> {
    /// Where the outcomes go.
    type Slots;

    /// Starts them.
    ///
    /// # Errors
    ///
    /// [`LoopError::Closed`](crate::LoopError::Closed);
    /// [`LoopError::InvalidArgument`](crate::LoopError::InvalidArgument) where one is of another loop.
    #[doc(hidden)]
    #[allow(private_interfaces, reason = "the trait is not to be implemented elsewhere")]
    fn start(self, event_loop: &EventLoop, gate: &Rc<Gate>) -> Result<Self::Slots>;
}

/// What counts as a failure among values.
pub trait Judge<T> {
    /// Whether this value is one.
    fn is_failure(value: &T) -> bool;
}

/// No value is a failure.
#[derive(Debug)]
pub enum Lenient {}

impl<T> Judge<T> for Lenient {
    fn is_failure(_: &T) -> bool {
        false
    }
}

/// An `Err` is a failure.
#[derive(Debug)]
pub enum Strict {}

impl<T, E> Judge<Result<T, E>> for Strict {
    fn is_failure(value: &Result<T, E>) -> bool {
        value.is_err()
    }
}

/// The outcomes of children.
pub trait Slots {
    /// The values of all.
    type Values;
    /// What each came to.
    type Outcomes;

    /// How the child at this place failed.
    fn error(&self, place: usize) -> TaskError;
    /// The values, none having failed.
    ///
    /// # Errors
    ///
    /// An outcome that is not a value.
    fn values(self) -> Result<Self::Values, TaskError>;
    /// All outcomes, all having ended.
    fn outcomes(self) -> Self::Outcomes;
}

/// The outcomes of children that give a `Result`.
pub trait TrySlots<E> {
    /// The values of all.
    type Values;

    /// The values, or the error of the one that failed first.
    ///
    /// # Errors
    ///
    /// That error.
    fn try_values(self, failed: Option<usize>) -> Result<Self::Values, E>;
}

/// One child, and what it ended with.
struct Cell<F: Future> {
    /// Until it is done.
    child: Option<Child<F>>,
    /// From then on, until it is taken.
    outcome: Option<Result<F::Output, TaskError>>,
    /// How it failed, if it did.
    error: Option<TaskError>,
}

/// A child's place.
pub struct Slot<F: Future>(Rc<RefCell<Cell<F>>>);

impl<F: Future + 'static> Slot<F> {
    #[track_caller]
    fn start<J>(event_loop: &EventLoop, gate: &Rc<Gate>, future: F) -> Result<Self>
    where
        J: Judge<F::Output> + 'static,
    {
        let child = Child::new(event_loop, future)?;
        let handle = child.handle().clone();
        let place = gate.add(&handle, child.is_made());
        let slot = Self(Rc::new(RefCell::new(Cell { child: Some(child), outcome: None, error: None })));
        let (counts, settled) = (Rc::clone(gate), Self(Rc::clone(&slot.0)));
        let settle = move |_: &FutureRef| {
            let failed = settled.settle::<J>(counts.is_awaited());
            counts.child_done(place, failed);
        };
        // Done already: it counts at once, as there is nothing to wait for (an eager task).
        if handle.done() {
            settle(&handle);
        } else {
            let awaiter = event_loop.current_task();
            gate.set_callback(place, handle.add_done_callback_of(awaiter.as_ref(), settle));
        }
        Ok(slot)
    }

    /// The child is done: takes its outcome over, if anybody still awaits it. True where that is a failure.
    fn settle<J: Judge<F::Output>>(&self, awaited: bool) -> bool {
        let child = self.0.borrow_mut().child.take();
        let Some(mut child) = child else { return false };
        // Asking marks it as retrieved: here is where it is looked at.
        let error = match child.handle().exception() {
            Ok(none_or_error) => none_or_error,
            Err(cancelled) => Some(cancelled),
        };
        if !awaited {
            // What was given may have others who await it: its value stays with it.
            return error.is_some();
        }
        let outcome = child.take();
        let failed = error.is_some() || outcome.as_ref().is_ok_and(J::is_failure);
        drop(child);
        let mut cell = self.0.borrow_mut();
        cell.outcome = Some(outcome);
        cell.error = error;
        failed
    }

    fn error(&self) -> TaskError {
        self.0.borrow().error.clone().unwrap_or(TaskError::NotReady)
    }

    fn outcome(&self) -> Result<F::Output, TaskError> {
        self.0.borrow_mut().outcome.take().unwrap_or(Err(TaskError::NotReady))
    }
}

impl<F, T, E> Slot<F>
where
    F: Future<Output = Result<T, E>> + 'static,
    E: From<TaskError>,
{
    fn try_value(&self) -> Result<T, E> {
        self.outcome()?
    }
}

// ---- an iterator of one type ----------------------------------------------------------------------------------------

/// Marks an iterator as the children.
#[derive(Debug)]
pub enum Many {}

impl<I, F, J> Children<Many, J> for I
where
    I: IntoIterator,
    I::Item: IntoFuture<IntoFuture = F>,
    F: Future + 'static,
    J: Judge<F::Output> + 'static,
{
    type Slots = Vec<Slot<F>>;

    #[allow(private_interfaces, reason = "as declared")]
    #[track_caller]
    fn start(self, event_loop: &EventLoop, gate: &Rc<Gate>) -> Result<Self::Slots> {
        let mut slots = Vec::new();
        for future in self {
            slots.push(Slot::start::<J>(event_loop, gate, future.into_future())?);
        }
        Ok(slots)
    }
}

impl<F: Future + 'static> Slots for Vec<Slot<F>> {
    type Values = Vec<F::Output>;
    type Outcomes = Vec<Result<F::Output, TaskError>>;

    fn error(&self, place: usize) -> TaskError {
        self[place].error()
    }

    fn values(self) -> Result<Self::Values, TaskError> {
        self.iter().map(Slot::outcome).collect()
    }

    fn outcomes(self) -> Self::Outcomes {
        self.iter().map(Slot::outcome).collect()
    }
}

impl<F, T, E> TrySlots<E> for Vec<Slot<F>>
where
    F: Future<Output = Result<T, E>> + 'static,
    E: From<TaskError>,
{
    type Values = Vec<T>;

    fn try_values(self, failed: Option<usize>) -> Result<Self::Values, E> {
        if let Some(place) = failed {
            self[place].try_value()?;
        }
        self.iter().map(Slot::try_value).collect()
    }
}

// ---- a tuple of several ----------------------------------------------------------------------------------------------

/// Marks a tuple as the children.
#[derive(Debug)]
pub struct Tuple<T>(std::marker::PhantomData<T>);

macro_rules! tuples {
    ($(($($child:ident $output:ident $place:tt),+))+) => {$(
        impl<J, $($child),+> Children<Tuple<($($child,)+)>, J> for ($($child,)+)
        where
            $($child: IntoFuture, $child::IntoFuture: 'static, J: Judge<$child::Output> + 'static,)+
        {
            type Slots = ($(Slot<$child::IntoFuture>,)+);

            #[allow(private_interfaces, reason = "as declared")]
            #[track_caller]
            fn start(self, event_loop: &EventLoop, gate: &Rc<Gate>) -> Result<Self::Slots> {
                Ok(($(Slot::start::<J>(event_loop, gate, self.$place.into_future())?,)+))
            }
        }

        impl<$($child: Future + 'static),+> Slots for ($(Slot<$child>,)+) {
            type Values = ($($child::Output,)+);
            type Outcomes = ($(Result<$child::Output, TaskError>,)+);

            fn error(&self, place: usize) -> TaskError {
                match place {
                    $($place => self.$place.error(),)+
                    _ => TaskError::NotReady,
                }
            }

            fn values(self) -> Result<Self::Values, TaskError> {
                Ok(($(self.$place.outcome()?,)+))
            }

            fn outcomes(self) -> Self::Outcomes {
                ($(self.$place.outcome(),)+)
            }
        }

        impl<Failure, $($child, $output),+> TrySlots<Failure> for ($(Slot<$child>,)+)
        where
            Failure: From<TaskError>,
            $($child: Future<Output = Result<$output, Failure>> + 'static,)+
        {
            type Values = ($($output,)+);

            fn try_values(self, failed: Option<usize>) -> Result<Self::Values, Failure> {
                match failed {
                    $(Some($place) => { self.$place.try_value()?; })+
                    _ => {}
                }
                Ok(($(self.$place.try_value()?,)+))
            }
        }
    )+};
}

tuples! {
    (A AO 0)
    (A AO 0, B BO 1)
    (A AO 0, B BO 1, C CO 2)
    (A AO 0, B BO 1, C CO 2, D DO 3)
    (A AO 0, B BO 1, C CO 2, D DO 3, E EO 4)
    (A AO 0, B BO 1, C CO 2, D DO 3, E EO 4, F FO 5)
    (A AO 0, B BO 1, C CO 2, D DO 3, E EO 4, F FO 5, G GO 6)
    (A AO 0, B BO 1, C CO 2, D DO 3, E EO 4, F FO 5, G GO 6, H HO 7)
    (A AO 0, B BO 1, C CO 2, D DO 3, E EO 4, F FO 5, G GO 6, H HO 7, I IO 8)
    (A AO 0, B BO 1, C CO 2, D DO 3, E EO 4, F FO 5, G GO 6, H HO 7, I IO 8, J_ JO 9)
}
