//! What makes streams of a transport's calls (asyncio: `StreamReaderProtocol`).

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use loop_core::{Protocol, Transport};

use super::incoming::{Incoming, Offer, Source};
use super::outgoing::Outgoing;
use super::reader::StreamReader;
use super::writer::StreamWriter;

/// What a server does with a new connection.
pub(super) type Connected = dyn Fn(StreamReader, StreamWriter);

/// A connection's protocol. It shares the state of the two halves, but holds neither: they are the program's.
pub(super) struct StreamProtocol {
    incoming: Rc<Incoming>,
    outgoing: Rc<Outgoing>,
    /// Of a server's connection, until it is made.
    connected: Option<(StreamReader, Rc<Connected>)>,
}

impl StreamProtocol {
    /// For a reader that the caller keeps.
    pub(super) fn new(reader: &StreamReader) -> Self {
        Self { incoming: Rc::clone(reader.incoming()), outgoing: Rc::default(), connected: None }
    }

    /// For a server, which hands both halves out when the connection is made.
    pub(super) fn of_server(reader: StreamReader, connected: Rc<Connected>) -> Self {
        let protocol = Self::new(&reader);
        Self { connected: Some((reader, connected)), ..protocol }
    }

    pub(super) fn writer(&self, transport: &Transport) -> StreamWriter {
        StreamWriter::new(transport.clone(), Rc::clone(&self.incoming), Rc::clone(&self.outgoing))
    }
}

impl Protocol for StreamProtocol {
    fn connection_made(&mut self, transport: &Transport) {
        // The reader is new, so it has no other transport.
        let _ = self.incoming.set_source(Source::Transport(transport.clone()));
        if let Some((reader, connected)) = self.connected.take() {
            connected(reader, self.writer(transport));
        }
    }

    fn data_available(&mut self, transport: &Transport) -> bool {
        match self.incoming.offer() {
            Offer::Refused => false,
            Offer::Taken => true,
            Offer::Perhaps => {
                let incoming = Rc::clone(&self.incoming);
                transport.get_loop().call_soon(move || incoming.deliver_left()).is_ok()
            }
        }
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        // Refused only after the end of the stream, behind which nothing comes.
        let _ = self.incoming.feed(data);
    }

    fn eof_received(&mut self, _: &Transport) -> bool {
        self.incoming.feed_eof();
        // The other direction goes on.
        true
    }

    fn connection_lost(&mut self, _: &Transport, error: Option<io::Error>) {
        let error = error.map(Arc::new);
        match &error {
            Some(error) => self.incoming.fail(Arc::clone(error)),
            None => self.incoming.feed_eof(),
        }
        self.outgoing.lose(error);
        self.incoming.forget_source();
    }

    fn pause_writing(&mut self, _: &Transport) {
        self.outgoing.pause();
    }

    fn resume_writing(&mut self, _: &Transport) {
        self.outgoing.resume();
    }
}
