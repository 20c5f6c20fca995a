//! What every backend does alike: one set of tests, generic over the backend.
//!
//! A backend crate runs them all with three lines in `tests/conformance.rs`:
//!
//! ```
//! # mod tests {
//! use loop_core::testing::VirtualBackend;
//!
//! loop_core::conformance_tests!(|| Box::new(VirtualBackend::new()));
//! # }
//! ```
//!
//! Each case gets its backends wrapped in [`CheckedBackend`], so it also shows **B1** to **B7** on the way. A
//! case about something a backend need not have (real descriptors, files, synchronous calls) checks that the
//! backend says so as documented. No case sleeps, and none asserts that anything was fast: a wait that does
//! not end fails by [`Harness`]'s deadline, after half a minute.
//!
//! Sockets are those of the loopback address, so the cases need nothing of the machine but that.

mod accept;
mod cancel;
mod clock;
mod close;
mod connect;
mod datagram;
mod descriptors;
mod drain;
mod files;
mod keys;
mod life;
mod multishot;
mod now;
mod readiness;
mod stream;
mod unpark;

use std::io;

use super::{CheckedBackend, Harness};
use crate::backend::Backend;
use crate::fd::FdKey;
use crate::op::{Op, Outcome};
use crate::op_table::OpKey;

/// Makes a fresh backend.
pub type Make<'a> = dyn FnMut() -> Box<dyn Backend> + 'a;

/// One case: panics if the backend fails it.
pub type Case = fn(&mut Make<'_>);

macro_rules! suite {
    ($dollar:tt $($subject:ident: $($case:ident)*;)*) => {
        const ALL: &[(&str, Case)] = &[$($((stringify!($case), $subject::$case),)*)*];

        /// Makes a `#[test]` of each [conformance](crate::testing::conformance) case, for the backends that the
        /// given expression makes: `conformance_tests!(|| Box::new(MyBackend::new().unwrap()))`.
        ///
        /// With a second expression, `conformance_tests!(make, if available)`, where `available()` is false the
        /// tests do nothing: for backends that need something of the machine.
        #[macro_export]
        macro_rules! conformance_tests {
            ($dollar make:expr) => {
                $crate::conformance_tests!($dollar make, if || true);
            };
            ($dollar make:expr, if $dollar available:expr) => {
                $($(
                    #[test]
                    fn $case() {
                        if ($dollar available)() {
                            $crate::testing::conformance::run(stringify!($case), &mut || ($dollar make)());
                        }
                    }
                )*)*
            };
        }
    };
}

suite! { $
    clock:
        the_clock_never_goes_back
        a_wait_is_never_early_and_does_not_spin
        a_wait_until_the_past_returns
        foreseen_waits_end_at_their_deadlines
        what_was_foreseen_and_does_not_come_is_harmless
        peek_and_now_report_nothing_where_nothing_is
        a_virtual_clock_jumps_and_a_held_one_waits
        a_poll_appends;
    unpark:
        an_unpark_before_the_poll_ends_it
        an_unpark_during_the_poll_ends_it
        many_unparks_are_used_up
        an_unpark_loses_no_completion
        an_unpark_after_the_end_is_harmless
        every_unparker_works;
    connect:
        both_ends_know_both_addresses
        a_connection_waits_in_the_backlog
        a_connection_is_refused_where_nobody_listens
        a_full_backlog_makes_connect_wait
        ipv6_works_alike
        an_address_is_bound_once
        control_answers
        accepted_sockets_live_longer_than_the_listener;
    accept:
        accept_multi_takes_every_connection
        accept_multi_may_be_asked_for_more_at_once
        accepts_complete_in_order
        accept_needs_a_listening_socket
        a_cancelled_accept_multi_leaves_the_backlog_alone;
    stream:
        bytes_go_both_ways
        a_receive_appends
        a_send_starts_where_told
        short_receives_lose_nothing
        a_second_receive_queues_behind_the_first
        large_transfers_arrive_whole
        a_send_into_a_full_socket_waits_for_the_peer
        sends_queue_in_order
        a_gathered_send_keeps_its_order
        a_gathered_send_may_have_more_pieces_than_the_kernel_takes
        nothing_is_sent_at_once
        the_end_of_the_stream_comes_after_its_bytes
        a_half_closed_connection_still_carries_the_other_half
        shutdown_needs_a_connection
        a_reset_is_an_error_for_the_peer
        unread_bytes_at_close_reset_the_connection
        sending_to_a_closed_peer_fails_in_the_end
        send_and_receive_need_a_connection;
    multishot:
        chunks_come_in_order_up_to_the_end
        a_multishot_receive_may_be_asked_for_more_at_once
        bytes_that_were_there_before_are_a_chunk
        a_chunk_stays_as_it_is_while_held
        a_chunk_outlives_its_backend
        a_cancelled_multishot_receive_loses_nothing
        a_reset_ends_a_multishot_receive;
    now:
        synchronous_calls_answer_or_are_none
        a_vain_synchronous_receive_costs_no_readiness
        a_synchronous_receive_takes_the_place_of_a_waiting_one
        a_receive_goes_on_into_the_callers_memory
        a_synchronous_send_does_not_overtake_a_waiting_one
        a_synchronous_send_stops_at_a_full_socket;
    cancel:
        a_waiting_accept_can_be_cancelled
        a_waiting_accept_multi_can_be_cancelled
        a_waiting_connect_can_be_cancelled
        a_waiting_receive_can_be_cancelled
        a_waiting_multishot_receive_can_be_cancelled
        a_waiting_datagram_receive_can_be_cancelled
        a_waiting_send_can_be_cancelled
        a_waiting_gathered_send_can_be_cancelled
        cancelling_twice_is_cancelling_once
        cancelling_what_is_over_or_unknown_is_harmless
        cancelling_one_leaves_the_others
        a_cancel_that_races_with_bytes_loses_none
        a_cancel_that_races_with_a_connection_loses_none
        a_cancel_between_resume_and_its_answer_wins_or_loses_but_once
        a_cancelled_send_has_sent_what_it_says
        no_cancel_is_lost_among_many;
    close:
        closing_ends_what_is_in_flight
        closing_under_a_receive_tells_the_peer
        closing_a_listener_ends_its_backlog
        a_new_socket_is_not_taken_for_a_closed_one
        closing_between_resume_and_its_answer_ends_the_operation_once
        closing_twice_is_closing_once;
    datagram:
        a_datagram_names_its_sender
        datagrams_keep_their_bounds_and_order
        a_long_datagram_is_cut
        an_empty_datagram_arrives
        a_connected_datagram_socket_sends_and_receives
        a_receive_waits_for_its_datagram;
    readiness:
        a_pipe_becomes_readable
        readiness_is_level_triggered
        readiness_is_asked_for_when_its_turn_comes
        a_socket_is_writable_at_once
        a_full_pipe_becomes_writable
        a_hang_up_is_ready_for_both
        both_interests_of_one_descriptor_are_apart
        two_may_wait_for_the_same
        the_backends_own_sockets_can_be_watched
        a_regular_file_is_ready_or_refused
        a_bad_descriptor_is_an_error
        a_waiting_readiness_can_be_cancelled
        a_number_reused_after_completion_is_a_new_descriptor
        a_number_reused_after_cancel_is_a_new_descriptor
        a_number_reused_while_the_old_file_lives_is_a_new_descriptor;
    descriptors:
        an_adopted_descriptor_works_and_is_non_blocking
        opened_and_accepted_sockets_are_non_blocking_and_close_on_exec
        a_refused_adoption_closes_the_descriptor
        a_released_descriptor_lives_on
        a_busy_descriptor_is_not_released
        a_closed_descriptor_is_really_closed;
    drain:
        drain_ends_everything
        drain_of_nothing_is_nothing
        drain_closes_connections_that_nobody_took
        dropping_the_backend_closes_its_sockets;
    keys:
        operations_on_an_unknown_key_fail
        operations_on_a_closed_key_fail
        requests_on_an_unknown_key_are_not_connected;
    life:
        a_long_life_by_chance_keeps_every_byte
        many_short_lives_by_chance_keep_every_byte
        a_life_may_end_anywhere;
    files:
        files_are_read_and_written_or_unsupported
        a_read_past_the_end_counts_nothing;
}

/// Every case with its name.
#[must_use]
pub fn all() -> &'static [(&'static str, Case)] {
    ALL
}

/// Runs the case of this name.
///
/// # Panics
///
/// If there is none, and if the backend fails it.
pub fn run(name: &str, make: &mut Make<'_>) {
    let (_, case) = ALL.iter().find(|(other, _)| *other == name).expect("a conformance case of this name");
    case(make);
}

/// A harness around a checked backend.
fn harness(make: &mut Make<'_>) -> Harness {
    Harness::new(Box::new(CheckedBackend::new(make()).indulgent()))
}

/// Whether the backend's sockets are real descriptors.
fn has_descriptors(h: &mut Harness) -> bool {
    let fd = h.stream();
    let real = h.backend().raw_fd(fd).is_some();
    h.close(fd);
    real
}

/// Whether the operation ended because it was cancelled.
fn is_cancelled(result: &io::Result<Outcome>) -> bool {
    matches!(result, Err(error) if error.raw_os_error() == Some(libc::ECANCELED))
}

#[track_caller]
fn assert_cancelled(result: &io::Result<Outcome>) {
    assert!(is_cancelled(result), "expected ECANCELED, got {result:?}");
}

/// Bytes that differ from place to place, so that a lost or doubled part shows.
fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    (0..len).map(next).collect()
}

/// Sends until the socket takes no more: the waiting send, and what went out before it.
fn fill(h: &mut Harness, fd: FdKey) -> (OpKey, Vec<u8>) {
    let mut sent = Vec::new();
    loop {
        let block = pattern(1 << 16, sent.len() as u32);
        let key = h.start(Op::Send { fd, buf: block.clone(), start: 0 });
        // A send that is neither over nor resumed once the backend has had its say waits for room.
        let count = match settle(h, key) {
            None => return (key, sent),
            Some(Ok(Outcome::Count(count))) if count > 0 => count,
            Some(other) => panic!("send came to {other:?}"),
        };
        sent.extend_from_slice(&block[..count]);
    }
}

/// What the operation came to, if it does without anybody doing anything: asks the kernel a few times.
fn settle(h: &mut Harness, key: OpKey) -> Option<io::Result<Outcome>> {
    for _ in 0..3 {
        if let Some(super::Arrival::Final(_, result, _)) = h.kept(key) {
            return Some(result);
        }
        h.poll(crate::backend::Wait::Now);
    }
    match h.kept(key) {
        Some(super::Arrival::Final(_, result, _)) => Some(result),
        _ => None,
    }
}
