//! A chat on streams: every line that somebody sends goes to everybody else.
//!
//! `cargo run --example line_chat -- 127.0.0.1:7001`, then `nc 127.0.0.1 7001` in several terminals.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use loop_api as asyncio;
use loop_api::{StreamReader, StreamWriter, Transport};

/// Those who are here, by number. One thread, so no lock.
#[derive(Default)]
struct Room {
    next: u32,
    people: HashMap<u32, Transport>,
}

impl Room {
    fn join(&mut self, transport: Transport) -> u32 {
        self.next += 1;
        self.people.insert(self.next, transport);
        self.next
    }

    fn say(&self, from: u32, text: &[u8]) {
        for (_, transport) in self.people.iter().filter(|(id, _)| **id != from) {
            // Whoever is leaving just now misses it.
            let _ = transport.write(format!("{from}: ").as_bytes());
            let _ = transport.write(text);
        }
    }
}

async fn guest(room: Rc<RefCell<Room>>, mut reader: StreamReader, mut writer: StreamWriter) -> asyncio::Result<()> {
    let id = room.borrow_mut().join(writer.transport().clone());
    println!("{id} joined");
    writer.write(format!("you are {id}\n").as_bytes())?;
    while let Some(line) = reader.readline().await? {
        room.borrow().say(id, &line);
        // Waits only while this guest is slow to read.
        writer.drain().await?;
    }
    room.borrow_mut().people.remove(&id);
    println!("{id} left");
    writer.close().await
}

fn main() -> asyncio::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| String::from("127.0.0.1:7001"));
    asyncio::run(async move {
        let room = Rc::new(RefCell::new(Room::default()));
        let server =
            asyncio::start_server(address.as_str(), move |reader, writer| guest(Rc::clone(&room), reader, writer))
                .await?;
        println!("listening on {:?}", server.local_addr());
        server.serve_forever().await
    })?
}
