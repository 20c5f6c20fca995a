//! Prints which backends a loop can be made on here: one line each, its name, `available`, or `unavailable` and why.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

fn main() {
    for (name, availability) in loop_api::available_backends() {
        match availability {
            Ok(()) => println!("{name}\tavailable"),
            // One line, three fields, whatever the reason is made of.
            Err(reason) => println!("{name}\tunavailable\t{}", reason.split_whitespace().collect::<Vec<_>>().join(" ")),
        }
    }
}
