//! How an await of this crate yields to a cancellation.
//!
//! A library await that had suspended stays pending while a cancellation request stands, even if what it waited for
//! has come: asyncio throws into the await, and does not let a result overtake that. Taking the request, which only
//! [`catch_cancelled`] can do, and raising it again leaves everything as it was.

use std::future::pending;
use std::pin::pin;
use std::task::{Context, Poll};

use loop_core::catch_cancelled;

/// Whether a request stands in the current task; if so, the await that asks has to stay pending.
pub(crate) fn gives_way(context: &mut Context<'_>) -> bool {
    let taken = pin!(catch_cancelled(pending::<()>())).poll(context);
    let Poll::Ready(Err(cancelled)) = taken else { return false };
    let raised: Poll<()> = pin!(cancelled.raise()).poll(context);
    raised.is_pending()
}
