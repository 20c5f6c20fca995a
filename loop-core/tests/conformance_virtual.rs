//! The conformance suite on the virtual backend.

use loop_core::testing::VirtualBackend;

loop_core::conformance_tests!(|| Box::new(VirtualBackend::new()));
