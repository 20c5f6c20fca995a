//! What every backend does alike, here with either way of waiting.

mod precise {
    loop_core::conformance_tests!(|| Box::new(loop_epoll::EpollBackend::new().expect("epoll")));
}

mod timerfd {
    loop_core::conformance_tests!(|| Box::new(loop_epoll::EpollBackend::with_timerfd().expect("epoll")));
}
