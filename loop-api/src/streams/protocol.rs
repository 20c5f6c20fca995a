//! What makes streams of a transport's calls (asyncio: `StreamReaderProtocol`).

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use loop_core::{Protocol, Transport};

use super::incoming::{Offer, Source};
use super::link::Link;
use super::reader::StreamReader;
use super::writer::StreamWriter;

/// What a server does with a new connection.
pub(super) type Connected = dyn Fn(StreamReader, StreamWriter);

/// A connection's protocol. It shares the state of the two halves, but holds neither: they are the program's.
pub(super) struct StreamProtocol {
    link: Rc<Link>,
    /// Of a server's connection, until it is made.
    connected: Option<Rc<Connected>>,
}

impl StreamProtocol {
    /// For a reader that the caller keeps.
    pub(super) fn new(reader: &StreamReader) -> Self {
        Self { link: Rc::clone(reader.link()), connected: None }
    }

    /// For a server, which hands both halves out when the connection is made.
    pub(super) fn of_server(limit: usize, connected: Rc<Connected>) -> Self {
        Self { link: Link::new(limit), connected: Some(connected) }
    }

    pub(super) fn writer(&self, transport: &Transport) -> StreamWriter {
        StreamWriter::new(transport.clone(), Rc::clone(&self.link))
    }
}

impl Protocol for StreamProtocol {
    fn connection_made(&mut self, transport: &Transport) {
        // The reader is new, so it has no other transport.
        let _ = self.link.incoming.set_source(Source::Transport(transport.clone()));
        if let Some(connected) = self.connected.take() {
            connected(StreamReader::of(Rc::clone(&self.link)), self.writer(transport));
        }
    }

    fn data_available(&mut self, transport: &Transport) -> bool {
        match self.link.incoming.offer() {
            Offer::Refused => false,
            Offer::Taken => true,
            Offer::Perhaps => {
                let link = Rc::clone(&self.link);
                transport.get_loop().call_soon(move || link.incoming.deliver_left()).is_ok()
            }
        }
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        // Refused only after the end of the stream, behind which nothing comes.
        let _ = self.link.incoming.feed(data);
    }

    fn eof_received(&mut self, _: &Transport) -> bool {
        self.link.incoming.feed_eof();
        // The other direction goes on.
        true
    }

    fn connection_lost(&mut self, _: &Transport, error: Option<io::Error>) {
        let error = error.map(Arc::new);
        match &error {
            Some(error) => self.link.incoming.fail(Arc::clone(error)),
            None => self.link.incoming.feed_eof(),
        }
        self.link.outgoing.lose(error);
        self.link.incoming.forget_source();
    }

    fn pause_writing(&mut self, _: &Transport) {
        self.link.outgoing.pause();
    }

    fn resume_writing(&mut self, _: &Transport) {
        self.link.outgoing.resume();
    }
}
