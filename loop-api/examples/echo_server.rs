//! An echo server on the low-level interface: a protocol, a server, an explicit loop and its life cycle.
//!
//! `cargo run --example echo_server -- 127.0.0.1:7000`, then `nc 127.0.0.1 7000`; Ctrl-C ends it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

use std::io;

use loop_api as asyncio;
use loop_api::{Protocol, ServerOptions, Transport};
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

/// One of these per connection.
#[derive(Default)]
struct Echo {
    bytes: usize,
}

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Transport) {
        println!("connected: {transport:?}");
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.bytes += data.len();
        // Never blocks: what the peer does not take is kept, and sent later.
        if let Err(error) = transport.write(data) {
            eprintln!("cannot write: {error}");
        }
    }

    fn pause_writing(&mut self, transport: &Transport) {
        // The peer does not read: take no more from it either, so that nothing piles up.
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }

    fn connection_lost(&mut self, _: &Transport, error: Option<io::Error>) {
        match error {
            Some(error) => println!("lost after {} bytes: {error}", self.bytes),
            None => println!("done after {} bytes", self.bytes),
        }
    }
}

fn main() -> asyncio::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| String::from("127.0.0.1:7000"));
    let lp = asyncio::new_event_loop()?;
    asyncio::set_event_loop(Some(&lp));

    let server =
        lp.run_until_complete(lp.create_server(Echo::default, address.as_str(), ServerOptions::default()))??;
    println!("listening on {:?} ({}); Ctrl-C ends it", server.local_addr(), lp.backend_name());

    // Signals come in on a thread of their own; `stop` from there wakes the loop.
    let mut signals = Signals::new([SIGINT])?;
    let (handle, closing) = (lp.handle(), signals.handle());
    let watcher = std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            handle.stop();
        }
    });
    lp.run_forever()?;
    closing.close();
    // A watcher that panicked has nothing left to tell.
    let _ = watcher.join();

    println!("stopping with {} connections open", server.connection_count());
    server.close();
    server.close_clients();
    lp.run_until_complete(server.wait_closed())?;
    lp.close()?;
    Ok(())
}
