//! What every backend does alike: on each rung of the ladder, and with queues and pools so small that they overflow.

use loop_core::Backend;
use loop_uring::{Options, UringBackend};

const ON_6_1: &[&str] = &["IORING_ENTER_ABS_TIMER", "IORING_ENTER_NO_IOWAIT"];

fn with(options: &Options) -> Box<dyn Backend> {
    Box::new(UringBackend::with(options).expect("io_uring"))
}

fn without(hidden: &[&'static str]) -> Box<dyn Backend> {
    with(&Options { hidden: hidden.to_vec(), ..Options::default() })
}

mod best {
    loop_core::conformance_tests!(|| Box::new(loop_uring::UringBackend::new().expect("io_uring")));
}

mod as_on_linux_6_1 {
    loop_core::conformance_tests!(|| super::without(super::ON_6_1));
}

mod cooperative {
    loop_core::conformance_tests!(|| super::without(&["IORING_SETUP_DEFER_TASKRUN"]));
}

mod many_issuers {
    loop_core::conformance_tests!(|| super::without(&["IORING_SETUP_SINGLE_ISSUER"]));
}

mod plain {
    loop_core::conformance_tests!(|| super::without(&["IORING_SETUP_SINGLE_ISSUER", "IORING_SETUP_COOP_TASKRUN"]));
}

mod tiny {
    use loop_uring::Options;

    loop_core::conformance_tests!(|| super::with(&Options {
        submissions: 2,
        completions: 4,
        buffers: 2,
        buffer_size: 128,
        ..Options::default()
    }));
}
