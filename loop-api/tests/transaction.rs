//! The example `transaction`: a generator's clean-up, an exchange over a connection, on every way out.

#[path = "../examples/transaction.rs"]
mod transaction;

#[test]
fn every_way_out_rolls_back_exactly_once() {
    let seen = transaction::every_way_out().unwrap();
    assert_eq!(seen.len(), 6);
    for (way, begun, rolled_back) in seen {
        assert_eq!((begun, rolled_back), (1, 1), "{way:?}");
    }
}
