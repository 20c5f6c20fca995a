//! Operations under way: one entry each, and the lines in which they keep their order.
//!
//! A *flight* is what this backend remembers of an operation from `submit` to its final completion. Flights of one
//! descriptor and direction stand in a line, and only the first is with the kernel, so they cannot overtake each other
//! (**B3**). The lines are linked through the slab: queueing allocates nothing once it has grown, and leaving from the
//! middle costs as little as from the front.
//!
//! Invariants: a *ticket* names one flight and never another (the generation); an operation's note is its flight's place
//! plus one; a flight is in at most one line.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use loop_core::{FdKey, Interest, OpKey, OpTable};

const NONE: u32 = u32::MAX;

/// Names a flight; what the kernel carries as user data. No flight has the place `u32::MAX`, so the tickets there stand
/// for requests of the backend's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    index: u32,
    generation: u32,
}

impl Ticket {
    /// The request that hears of unparks.
    pub(crate) const WAKE: Self = Self { index: NONE, generation: 0 };
    /// A request to cancel another; what it comes to concerns nobody.
    pub(crate) const CANCEL: Self = Self { index: NONE, generation: 1 };

    /// The request of an alarm, of which there are a few.
    pub(crate) const fn alarm(number: usize) -> Self {
        Self { index: NONE, generation: 2 + number as u32 }
    }

    /// Which request of the backend's own it stands for.
    pub(crate) const fn own(self) -> Option<Own> {
        match self {
            Self { index: NONE, generation: 0 } => Some(Own::Wake),
            Self { index: NONE, generation: 1 } => Some(Own::Cancel),
            Self { index: NONE, generation } => Some(Own::Alarm(generation as usize - 2)),
            _ => None,
        }
    }

    pub(crate) const fn user_data(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    pub(crate) const fn from_user_data(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// The requests of the backend's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    Wake,
    Cancel,
    Alarm(usize),
}

/// What a flight's completions mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Accept,
    AcceptMulti,
    Connect,
    /// Receives and sends: the result is a count.
    Count,
    /// Receives a datagram: a count, and the sender's address.
    CountFrom,
    RecvMulti,
    Readiness,
    /// Reads or writes at an offset: a count.
    File,
}

/// How far a flight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Behind another in its line.
    Waiting,
    /// Its request is with the kernel, or in the submission queue.
    Flying,
    /// A send that the kernel reports only if it fails.
    Quiet,
    /// The kernel said "try again"; a request for readiness is with the kernel in its place.
    Polling,
    /// There was no receive buffer; it goes on when there is one.
    Parked,
    /// It received more than its share; it goes on when that was reported.
    Held,
    /// There is something to receive, and the loop was told to go on with it: see `bulk`.
    Announced,
}

/// What is remembered of an operation under way.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) op: OpKey,
    pub(crate) what: What,
    pub(crate) stage: Stage,
    /// It is to end: what was asked of the kernel is not repeated.
    pub(crate) cancelled: bool,
    /// It received more than its share: it is not to go on by itself.
    pub(crate) held: bool,
    /// It receives much at a time: see `bulk`.
    pub(crate) bulk: bool,
    /// So many small receives in a row.
    pub(crate) small: u8,
    /// What there was to receive has been received.
    pub(crate) drained: bool,
    /// How much it received in a batch of completions, and which one that was.
    pub(crate) bytes: u32,
    pub(crate) batch: u32,
    /// Its line: of this descriptor, if there is a direction. (As a pair they would take three bytes more, which are eight of
    /// every flight's.)
    fd: FdKey,
    direction: Option<Interest>,
    /// Keeps the descriptor open while the kernel has the request.
    pub(crate) file: Option<Rc<OwnedFd>>,
    /// Describes the pieces of a gathered send to the kernel.
    pub(crate) pieces: Option<Box<[libc::iovec]>>,
    before: u32,
    behind: u32,
}

impl Flight {
    /// Its line, if it is in one.
    pub(crate) fn line(&self) -> Option<(FdKey, Interest)> {
        self.direction.map(|direction| (self.fd, direction))
    }

    /// It comes to be in this one.
    pub(crate) fn set_line(&mut self, fd: FdKey, direction: Interest) {
        self.fd = fd;
        self.direction = Some(direction);
    }

    pub(crate) fn take_line(&mut self) -> Option<(FdKey, Interest)> {
        self.direction.take().map(|direction| (self.fd, direction))
    }
}

/// The ends of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    first: u32,
    last: u32,
}

impl Line {
    pub(crate) const EMPTY: Self = Self { first: NONE, last: NONE };

    pub(crate) const fn is_empty(&self) -> bool {
        self.first == NONE
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    flight: Option<Flight>,
}

/// All flights of a backend.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    slots: Vec<Slot>,
    free: Vec<u32>,
    count: usize,
}

impl Flights {
    /// Begins a flight, in no line.
    pub(crate) fn begin(&mut self, ops: &mut OpTable, op: OpKey, what: What) -> Ticket {
        let flight = Flight {
            op,
            what,
            stage: Stage::Waiting,
            cancelled: false,
            held: false,
            bulk: false,
            small: 0,
            drained: false,
            bytes: 0,
            batch: 0,
            fd: FdKey::new(NONE, 0),
            direction: None,
            file: None,
            pieces: None,
            before: NONE,
            behind: NONE,
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 operations")
        });
        let slot = &mut self.slots[index as usize];
        slot.flight = Some(flight);
        self.count += 1;
        if let Some(note) = ops.note_mut(op) {
            *note = u64::from(index) + 1;
        }
        Ticket { index, generation: slot.generation }
    }

    /// Ends a flight that is in no line.
    pub(crate) fn end(&mut self, ticket: Ticket) -> Option<Flight> {
        let slot = self.slots.get_mut(ticket.index as usize)?;
        if slot.generation != ticket.generation {
            return None;
        }
        let flight = slot.flight.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(ticket.index);
        self.count -= 1;
        Some(flight)
    }

    pub(crate) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Flight> {
        let slot = self.slots.get_mut(ticket.index as usize)?;
        if slot.generation == ticket.generation { slot.flight.as_mut() } else { None }
    }

    /// The flight of an operation, if it is under way.
    pub(crate) fn of(&self, ops: &mut OpTable, op: OpKey) -> Option<Ticket> {
        let index = u32::try_from((*ops.note_mut(op)?).checked_sub(1)?).ok()?;
        self.at(index).filter(|ticket| self.flight(*ticket).is_some_and(|flight| flight.op == op))
    }

    fn flight(&self, ticket: Ticket) -> Option<&Flight> {
        self.slots.get(ticket.index as usize)?.flight.as_ref()
    }

    /// Whoever is at a place.
    fn at(&self, index: u32) -> Option<Ticket> {
        let slot = self.slots.get(index as usize)?;
        slot.flight.as_ref().map(|_| Ticket { index, generation: slot.generation })
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// All of them.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        (0..self.slots.len() as u32).filter_map(|index| self.at(index))
    }

    /// Puts a flight at the end of a line.
    pub(crate) fn join(&mut self, line: &mut Line, ticket: Ticket) {
        let last = std::mem::replace(&mut line.last, ticket.index);
        match last {
            NONE => line.first = ticket.index,
            last => self.link(last).behind = ticket.index,
        }
        self.link(ticket.index).before = last;
    }

    /// Takes a flight out of its line, wherever it stands.
    pub(crate) fn leave(&mut self, line: &mut Line, ticket: Ticket) {
        let flight = self.link(ticket.index);
        let before = std::mem::replace(&mut flight.before, NONE);
        let behind = std::mem::replace(&mut flight.behind, NONE);
        match before {
            NONE => line.first = behind,
            before => self.link(before).behind = behind,
        }
        match behind {
            NONE => line.last = before,
            behind => self.link(behind).before = before,
        }
    }

    /// The first of a line.
    pub(crate) fn first(&self, line: &Line) -> Option<Ticket> {
        self.at(line.first)
    }

    fn link(&mut self, index: u32) -> &mut Flight {
        self.slots[index as usize].flight.as_mut().expect("lines link flights")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flights(count: u32) -> (Flights, OpTable, Vec<Ticket>) {
        let (mut flights, mut ops) = (Flights::default(), OpTable::new());
        let tickets = (0..count).map(|op| flights.begin(&mut ops, OpKey::from_u64(op.into()), What::Count)).collect();
        (flights, ops, tickets)
    }

    #[test]
    fn a_ticket_never_names_a_later_flight() {
        let (mut flights, mut ops, tickets) = flights(1);
        assert!(flights.end(tickets[0]).is_some());
        let second = flights.begin(&mut ops, OpKey::from_u64(7), What::Count);
        assert_ne!(second, tickets[0]);
        assert!(flights.get_mut(tickets[0]).is_none());
        assert!(flights.end(tickets[0]).is_none());
        assert_eq!(Ticket::from_user_data(second.user_data()), second);
        assert_eq!(flights.len(), 1);
    }

    #[test]
    fn lines_keep_their_order_whoever_leaves() {
        let (mut flights, _, tickets) = flights(4);
        let mut line = Line::EMPTY;
        tickets.iter().for_each(|ticket| flights.join(&mut line, *ticket));
        flights.leave(&mut line, tickets[1]);
        assert_eq!(flights.first(&line), Some(tickets[0]));
        flights.leave(&mut line, tickets[0]);
        assert_eq!(flights.first(&line), Some(tickets[2]));
        flights.leave(&mut line, tickets[3]);
        flights.leave(&mut line, tickets[2]);
        assert!(line.is_empty() && flights.first(&line).is_none());
    }

    #[test]
    fn the_backends_own_tickets_name_no_flight() {
        let (mut flights, ..) = flights(3);
        let own = [(Ticket::WAKE, Own::Wake), (Ticket::CANCEL, Own::Cancel), (Ticket::alarm(1), Own::Alarm(1))];
        for (ticket, own) in own {
            assert!(flights.get_mut(ticket).is_none() && flights.end(ticket).is_none());
            assert_eq!(Ticket::from_user_data(ticket.user_data()).own(), Some(own));
        }
    }
}
