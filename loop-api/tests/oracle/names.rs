//! This library's errors by their names in asyncio; `ERRORS` in `scenario.py` cuts asyncio's own to the same.

use std::any::Any;
use std::error::Error;
use std::io;

use loop_api::{Cancelled, Error as ApiError, ExceptionContext, Fatal, LoopError, Panicked, TaskError, WaitError};

/// An error as both halves write it.
pub(crate) fn describe(error: &(dyn Error + 'static)) -> String {
    if let Some(error) = error.downcast_ref::<LoopError>() {
        return of_the_loop(error);
    }
    if let Some(error) = error.downcast_ref::<TaskError>() {
        return of_a_task(error);
    }
    if let Some(error) = error.downcast_ref::<ApiError>() {
        return of_the_api(error);
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return of_the_system(error);
    }
    if let Some(WaitError::Task(error)) = error.downcast_ref::<WaitError>() {
        return of_a_task(error);
    }
    if let Some(cancelled) = error.downcast_ref::<Cancelled>() {
        return cancellation(cancelled);
    }
    if let Some(panicked) = error.downcast_ref::<Panicked>() {
        return panicked.message().to_owned();
    }
    // The scenario's own: its text is its name in Python.
    error.to_string()
}

fn of_the_loop(error: &LoopError) -> String {
    match error {
        LoopError::NoRunningLoop => "RuntimeError: no running event loop".into(),
        LoopError::NoCurrentLoop { .. } => "RuntimeError: There is no current event loop".into(),
        LoopError::AlreadyRunning => "RuntimeError: This event loop is already running".into(),
        LoopError::OtherLoopRunning => "RuntimeError: another loop is running".into(),
        LoopError::Running => "RuntimeError: Cannot close a running event loop".into(),
        LoopError::Closed => "RuntimeError: Event loop is closed".into(),
        LoopError::StoppedBeforeComplete => "RuntimeError: Event loop stopped before Future completed.".into(),
        LoopError::WrongLoop => "RuntimeError: attached to a different loop".into(),
        LoopError::InvalidState(_) => "InvalidStateError".into(),
        LoopError::InvalidArgument(_) => "ValueError".into(),
        LoopError::ExecutorShutdown => "RuntimeError: Executor shutdown has been called".into(),
        LoopError::PoolShutdown => "RuntimeError: cannot schedule new futures after shutdown".into(),
        LoopError::WriteAfterEof => "RuntimeError: Cannot call write() after write_eof()".into(),
        LoopError::GeneratorRunning => "RuntimeError: generator is already running".into(),
        LoopError::IgnoredGeneratorExit => "RuntimeError: async generator ignored GeneratorExit".into(),
        LoopError::Thrown(thrown) => thrown.to_string(),
        LoopError::Task(error) => of_a_task(error),
        LoopError::Io(error) => of_the_system(error),
        other => format!("{other:?}, which has no name here"),
    }
}

fn of_a_task(error: &TaskError) -> String {
    match error {
        TaskError::Cancelled(cancelled) => cancellation(cancelled),
        TaskError::Panicked(panicked) => panicked.message().to_owned(),
        TaskError::Failed(error) => describe(&**error),
        TaskError::NotReady => "InvalidStateError".into(),
        TaskError::WrongLoop => "RuntimeError: attached to a different loop".into(),
        TaskError::SelfAwait => "RuntimeError: Task cannot await on itself".into(),
        other => format!("{other:?}, which has no name here"),
    }
}

fn of_the_api(error: &ApiError) -> String {
    match error {
        ApiError::Loop(error) => of_the_loop(error),
        ApiError::Task(error) => of_a_task(error),
        ApiError::Io(error) => of_the_system(error),
        ApiError::RunnerClosed => "RuntimeError: Runner is closed".into(),
        ApiError::NotLocked => "RuntimeError".into(),
        ApiError::QueueFull => "QueueFull".into(),
        ApiError::QueueEmpty => "QueueEmpty".into(),
        ApiError::QueueShutDown => "QueueShutDown".into(),
        ApiError::TooManyReleases | ApiError::TooManyDone => "ValueError".into(),
        ApiError::BrokenBarrier => "BrokenBarrierError".into(),
        ApiError::TimedOut => "TimeoutError".into(),
        ApiError::IncompleteRead { .. } => "IncompleteReadError".into(),
        ApiError::LimitOverrun { .. } => "LimitOverrunError".into(),
        ApiError::LineTooLong { .. } => "ValueError: line too long".into(),
        other => format!("{other:?}, which has no name here"),
    }
}

fn of_the_system(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "ConnectionRefusedError".into(),
        io::ErrorKind::ConnectionReset => "ConnectionResetError".into(),
        io::ErrorKind::BrokenPipe => "BrokenPipeError".into(),
        io::ErrorKind::NotFound => "FileNotFoundError".into(),
        io::ErrorKind::TimedOut => "TimeoutError".into(),
        _ => match error.get_ref() {
            Some(inner) => describe(inner),
            None => format!("OSError: {error}"),
        },
    }
}

fn cancellation(cancelled: &Cancelled) -> String {
    cancelled.message().map_or_else(|| "CancelledError".into(), |message| format!("CancelledError: {message}"))
}

/// What left a scenario by unwinding.
pub(crate) fn escaped(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast_ref::<Fatal>() {
        Some(Fatal::Exit(code)) => format!("SystemExit: {code}"),
        Some(Fatal::Interrupt) => "KeyboardInterrupt".into(),
        None => Panicked::new(payload).message().to_owned(),
    }
}

/// A report to the exception handler: how its message begins, and the error.
pub(crate) fn reported(context: &ExceptionContext) -> String {
    const BEGINNINGS: [&str; 9] = [
        "Exception in callback",
        "Task exception was never retrieved",
        "Future exception was never retrieved",
        "Unhandled exception in client_connected_cb",
        "unhandled exception during asyncio.run() shutdown",
        "protocol.connection_made() call failed",
        "protocol.data_received() call failed",
        "protocol.eof_received() call failed",
        "an error occurred during closing of asynchronous generator",
    ];
    let message = context.message.as_deref().unwrap_or("no message");
    let name = BEGINNINGS.into_iter().find(|beginning| message.starts_with(beginning)).unwrap_or(message);
    match &context.exception {
        Some(error) => format!("{name}: {}", describe(&**error)),
        None => name.to_owned(),
    }
}
