//! The conformance suite on the virtual backend, in both its manners.

use loop_core::Backend;
use loop_core::testing::VirtualBackend;

mod readiness {
    use super::VirtualBackend;

    loop_core::conformance_tests!(|| Box::new(VirtualBackend::new()));
}

mod completion {
    use super::{Backend, VirtualBackend};

    fn make() -> Box<dyn Backend> {
        Box::new(VirtualBackend::new().completing())
    }

    loop_core::conformance_tests!(make, if || true);
}
