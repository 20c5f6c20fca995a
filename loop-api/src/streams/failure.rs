//! Errors that are raised again and again: what broke a connection is every later read's error.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
