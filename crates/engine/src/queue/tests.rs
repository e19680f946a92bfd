use super::*;
use proptest::prelude::*;
use std::thread;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    number: usize,
    weight: usize,
}

impl Weight for Item {
    fn weight(&self) -> usize {
        self.weight
    }
}

fn item(number: usize, weight: usize) -> Item {
    Item { number, weight }
}

fn queue(items: usize, bytes: usize, cancel: &Cancel) -> (Sender<Item>, Receiver<Item>) {
    bounded(Limits { items, bytes }, cancel)
}

/// Waits until some thread must be blocked; there is no event to wait for, since blocking is what is tested.
fn let_block() {
    thread::sleep(Duration::from_millis(20));
}

fn depth<T>(rx: &Receiver<T>) -> (usize, usize) {
    rx.shared.lock().depth()
}

#[test]
fn ends_with_closed_after_the_last_item() {
    let (tx, rx) = queue(4, 100, &Cancel::new());
    assert_eq!(rx.try_recv(), Ok(None));
    tx.send(item(1, 10)).unwrap();
    tx.send(item(2, 10)).unwrap();
    drop(tx);
    assert_eq!(rx.recv().unwrap().number, 1);
    assert_eq!(rx.try_recv().unwrap().unwrap().number, 2);
    assert_eq!(rx.recv(), Err(RecvError::Closed));
    assert_eq!(rx.try_recv(), Err(RecvError::Closed));
}

#[test]
fn an_oversized_item_needs_an_empty_queue() {
    let (tx, rx) = queue(4, 100, &Cancel::new());
    tx.send(item(0, 1000)).unwrap();
    assert_eq!(rx.recv().unwrap().number, 0);
    tx.send(item(1, 1)).unwrap();
    thread::scope(|scope| {
        let sender = scope.spawn(|| tx.send(item(2, 1000)));
        let_block();
        assert_eq!(depth(&rx), (1, 1));
        assert_eq!(rx.recv().unwrap().number, 1);
        sender.join().unwrap().unwrap();
    });
    assert_eq!(depth(&rx), (1, 1000));
}

#[test]
fn zero_limits_and_huge_weights_neither_block_nor_overflow() {
    let (tx, rx) = queue(0, 0, &Cancel::new());
    tx.send(item(0, usize::MAX)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| tx.send(item(1, usize::MAX)).unwrap());
        assert_eq!(rx.recv().unwrap().number, 0);
        assert_eq!(rx.recv().unwrap().number, 1);
    });
}

#[test]
fn both_sides_wake_on_cancel() {
    let cancel = Cancel::new();
    let (tx, rx) = queue(1, 100, &cancel);
    let (_idle_tx, idle_rx) = queue(1, 100, &cancel);
    tx.send(item(0, 1)).unwrap();
    thread::scope(|scope| {
        let sender = scope.spawn(|| tx.send(item(1, 1)));
        let receiver = scope.spawn(|| idle_rx.recv());
        let_block();
        cancel.cancel();
        assert_eq!(sender.join().unwrap(), Err(SendError::Cancelled));
        assert_eq!(receiver.join().unwrap(), Err(RecvError::Cancelled));
    });
    assert_eq!(rx.recv(), Err(RecvError::Cancelled), "items that are left are not handed out");
    let (tx, rx) = queue(1, 1, &cancel);
    assert_eq!(tx.send(item(0, 0)), Err(SendError::Cancelled));
    assert_eq!(rx.try_recv(), Err(RecvError::Cancelled));
}

#[test]
fn the_sender_wakes_when_the_receiver_goes_and_items_are_freed() {
    struct Held(#[expect(dead_code, reason = "only its count is looked at")] Arc<()>);
    impl Weight for Held {
        fn weight(&self) -> usize {
            1
        }
    }
    let (tx, rx) = bounded(Limits { items: 1, bytes: 9 }, &Cancel::new());
    let held = Arc::new(());
    tx.send(Held(Arc::clone(&held))).unwrap();
    thread::scope(|scope| {
        let sender = scope.spawn(|| tx.send(Held(Arc::clone(&held))));
        let_block();
        drop(rx);
        assert_eq!(sender.join().unwrap(), Err(SendError::Closed));
    });
    assert_eq!(Arc::strong_count(&held), 1, "the queue kept an item that nobody can take");
}

#[test]
fn a_panicking_sender_is_not_the_end_of_the_stream() {
    let (tx, rx) = queue(4, 100, &Cancel::new());
    let died = thread::spawn(move || {
        tx.send(item(0, 1)).unwrap();
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(died.join().is_err());
    assert_eq!(rx.recv(), Err(RecvError::Cancelled));
}

#[test]
fn the_hook_sees_every_depth() {
    let (tx, rx) = queue(2, 100, &Cancel::new());
    tx.send(item(0, 40)).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    rx.on_depth(move |items, bytes| log.lock().unwrap().push((items, bytes)));
    rx.on_depth(|_, _| panic!("one hook per queue"));
    tx.send(item(1, 50)).unwrap();
    rx.recv().unwrap();
    tx.send(item(2, 5)).unwrap();
    drop(rx);
    assert_eq!(*seen.lock().unwrap(), [(1, 40), (2, 90), (1, 50), (2, 55), (0, 0)]);
}

#[test]
fn cancelling_at_any_moment_ends_both_threads() {
    for round in 0..50 {
        let cancel = Cancel::new();
        let (tx, rx) = queue(2, 10, &cancel);
        thread::scope(|scope| {
            scope.spawn(move || while tx.send(item(0, 3)).is_ok() {});
            scope.spawn(move || while rx.recv().is_ok() {});
            thread::sleep(Duration::from_micros(round * 20));
            cancel.cancel();
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_lost_reordered_or_over_the_limit(
        weights in prop::collection::vec(0usize..40, 0..200),
        items in 1usize..6,
        bytes in 0usize..60,
    ) {
        let (tx, rx) = queue(items, bytes, &Cancel::new());
        let deepest = Arc::new(Mutex::new((0, 0)));
        let seen = Arc::clone(&deepest);
        rx.on_depth(move |now_items, now_bytes| {
            let mut seen = seen.lock().unwrap();
            // One item alone may be larger than the limit.
            let counted = if now_items == 1 { 0 } else { now_bytes };
            *seen = (seen.0.max(now_items), seen.1.max(counted));
        });
        let received: Vec<Item> = thread::scope(|scope| {
            let weights = &weights;
            scope.spawn(move || {
                for (number, &weight) in weights.iter().enumerate() {
                    tx.send(Item { number, weight }).unwrap();
                }
            });
            std::iter::from_fn(|| rx.recv().ok()).collect()
        });
        let (most_items, most_bytes) = *deepest.lock().unwrap();
        prop_assert!(most_items <= items && most_bytes <= bytes, "{most_items} items, {most_bytes} bytes");
        let sent: Vec<Item> =
            weights.iter().enumerate().map(|(number, &weight)| Item { number, weight }).collect();
        prop_assert_eq!(received, sent);
    }

    /// Against a model, one thread: what would block is skipped.
    #[test]
    fn agrees_with_a_plain_list(steps in prop::collection::vec(prop::option::of(0usize..50), 0..200)) {
        let (limit_items, limit_bytes) = (4, 60);
        let (tx, rx) = queue(limit_items, limit_bytes, &Cancel::new());
        let mut model: VecDeque<Item> = VecDeque::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Some(weight) => {
                    let held: usize = model.iter().map(|i| i.weight).sum();
                    if model.is_empty() || (model.len() < limit_items && held + weight <= limit_bytes) {
                        tx.send(item(number, weight)).unwrap();
                        model.push_back(item(number, weight));
                    }
                }
                None => prop_assert_eq!(rx.try_recv().unwrap(), model.pop_front()),
            }
            prop_assert_eq!(depth(&rx), (model.len(), model.iter().map(|i| i.weight).sum()));
        }
    }
}
