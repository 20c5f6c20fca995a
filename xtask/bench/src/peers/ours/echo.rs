//! The loop's echo servers: a protocol, streams, and the `sock_*` calls.

use std::io;

use loop_api::{Protocol, ServerOptions, Transport};

use super::{On, new_loop};
use crate::peers::Announce;

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        // A connection that is gone is told to `connection_lost`.
        _ = transport.write(data);
    }

    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }
}

/// `create_server` with a protocol.
pub(super) fn protocol<B: On>(announce: Announce, _: usize) -> io::Result<()> {
    let lp = new_loop::<B>();
    let serve = async {
        let server = lp.create_server(|| Echo, ("127.0.0.1", 0), ServerOptions::default()).await?;
        announce(server.local_addr().expect("it listens on an internet address"));
        server.serve_forever().await
    };
    lp.run_until_complete(serve).and_then(|served| served).map_err(io::Error::other)
}

/// `start_server` with streams.
pub(super) fn stream<B: On>(announce: Announce, size: usize) -> io::Result<()> {
    let serve = async {
        let server = loop_api::start_server(("127.0.0.1", 0), move |mut reader, mut writer| async move {
            let mut buffer = vec![0; size];
            loop {
                let count = reader.read_into(&mut buffer).await?;
                if count == 0 {
                    return writer.close().await;
                }
                writer.write(&buffer[..count])?;
                writer.drain().await?;
            }
        })
        .await?;
        announce(server.local_addr().expect("it listens on an internet address"));
        server.serve_forever().await
    };
    new_loop::<B>().run_until_complete(serve).map_err(io::Error::other)?.map_err(io::Error::other)
}

/// `sock_accept`, and `sock_recv` and `sock_sendall` in a task per connection.
pub(super) fn sock<B: On>(announce: Announce, size: usize) -> io::Result<()> {
    let lp = new_loop::<B>();
    let serve = async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(io::Error::other)?;
        announce(listener.local_addr()?);
        let listener = lp.adopt_socket(listener).map_err(io::Error::other)?;
        loop {
            let (socket, _) = lp.sock_accept(&listener).await.map_err(io::Error::other)?;
            socket.set(&loop_api::loop_core::Control::NoDelay(true)).map_err(io::Error::other)?;
            let lp = lp.clone();
            let connection = async move {
                loop {
                    match lp.sock_recv(&socket, size).await {
                        Ok(data) if !data.is_empty() => {
                            if lp.sock_sendall(&socket, data).await.is_err() {
                                return;
                            }
                        }
                        _ => return,
                    }
                }
            };
            loop_api::create_task(connection).map_err(io::Error::other)?;
        }
    };
    lp.run_until_complete(serve).map_err(io::Error::other)?
}
