use super::*;
use proptest::prelude::*;
use std::sync::atomic::AtomicBool;
use std::thread;

/// Far longer than any wake-up takes.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    producer: usize,
    number: usize,
    weight: usize,
}

impl Weight for Item {
    fn weight(&self) -> usize {
        self.weight
    }
}

fn item(number: usize, weight: usize) -> Item {
    Item { producer: 0, number, weight }
}

fn queue(items: usize, bytes: usize, cancel: &Cancel) -> (Sender<Item>, Receiver<Item>) {
    bounded("test", Limits { items, bytes }, cancel)
}

/// Waits until some thread must be blocked; there is no event to wait for, since blocking is what is tested.
fn let_block() {
    thread::sleep(SHORT);
}

/// Waits until `n` sends have been begun in all.
fn wait_for_sends(tx: &Sender<Item>, n: u64) {
    while tx.shared.lock().next_ticket < n {
        thread::yield_now();
    }
}

#[test]
fn ends_with_closed_after_the_last_item() {
    let (tx, rx) = queue(4, 100, &Cancel::new());
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    tx.send(item(1, 10)).unwrap();
    let second = tx.clone();
    drop(tx);
    second.send(item(2, 10)).unwrap();
    drop(second);
    assert_eq!(rx.recv().unwrap().number, 1);
    assert_eq!(rx.try_recv().unwrap().number, 2);
    assert_eq!(rx.recv(), Err(RecvError::Closed));
    assert_eq!(rx.recv_timeout(LONG), Err(TryRecvError::Closed));
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
        assert_eq!(rx.stats().bytes, 1);
        assert_eq!(rx.recv().unwrap().number, 1);
        sender.join().unwrap().unwrap();
    });
    assert_eq!(rx.stats().bytes, 1000);
}

#[test]
fn zero_limits_and_huge_weights_neither_block_nor_overflow() {
    let (tx, rx) = queue(0, 0, &Cancel::new());
    tx.send(item(0, usize::MAX)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| tx.send(item(1, usize::MAX)).unwrap());
        assert_eq!(rx.recv().unwrap().number, 0);
        assert_eq!(rx.recv_timeout(LONG).unwrap().number, 1);
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
        let timed = scope.spawn(|| idle_rx.recv_timeout(LONG));
        let_block();
        cancel.cancel();
        assert_eq!(sender.join().unwrap(), Err(SendError::Cancelled));
        assert_eq!(receiver.join().unwrap(), Err(RecvError::Cancelled));
        assert_eq!(timed.join().unwrap(), Err(TryRecvError::Cancelled));
    });
    assert_eq!(rx.recv(), Err(RecvError::Cancelled), "items that are left are not handed out");
    let (tx, rx) = queue(1, 1, &cancel);
    assert_eq!(tx.send(item(0, 0)), Err(SendError::Cancelled));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Cancelled));
}

#[test]
fn senders_wake_when_the_receivers_go_and_items_are_freed() {
    struct Held(#[expect(dead_code, reason = "only its count is looked at")] Arc<()>);
    impl Weight for Held {
        fn weight(&self) -> usize {
            1
        }
    }
    let (tx, rx) = bounded("held", Limits { items: 1, bytes: 9 }, &Cancel::new());
    let held = Arc::new(());
    tx.send(Held(Arc::clone(&held))).unwrap();
    let other = rx.clone();
    thread::scope(|scope| {
        let sender = scope.spawn(|| tx.send(Held(Arc::clone(&held))));
        let_block();
        drop(rx);
        drop(other);
        assert_eq!(sender.join().unwrap(), Err(SendError::Closed));
    });
    assert_eq!(Arc::strong_count(&held), 1, "the queue kept an item that nobody can take");
    assert_eq!(tx.stats().items, 0);
}

#[test]
fn a_panicking_sender_is_not_the_end_of_the_stream() {
    let (tx, rx) = queue(4, 100, &Cancel::new());
    let other = tx.clone();
    let died = thread::spawn(move || {
        tx.send(item(0, 1)).unwrap();
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(died.join().is_err());
    assert_eq!(rx.recv(), Err(RecvError::Cancelled));
    assert_eq!(other.send(item(1, 1)), Err(SendError::Cancelled));
}

#[test]
fn a_large_item_is_not_starved_by_small_ones() {
    let (tx, rx) = queue(100, 100, &Cancel::new());
    tx.send(item(0, 60)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| tx.send(item(1, 60)).unwrap());
        wait_for_sends(&tx, 2);
        scope.spawn(|| tx.send(item(2, 1)).unwrap());
        wait_for_sends(&tx, 3);
        let_block();
        assert_eq!(rx.stats().items, 1, "the small item passed the large one");
        let order: Vec<usize> = (0..3).map(|_| rx.recv().unwrap().number).collect();
        assert_eq!(order, [0, 1, 2]);
    });
}

#[test]
fn figures_and_hook() {
    let (tx, rx) = queue(2, 100, &Cancel::new());
    let monitor = tx.monitor();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    assert!(monitor.on_depth(move |items, bytes| log.lock().unwrap().push((items, bytes))));
    assert!(!monitor.on_depth(|_, _| ()));
    tx.send(item(0, 40)).unwrap();
    tx.send(item(1, 50)).unwrap();
    thread::scope(|scope| {
        let sender = scope.spawn(|| tx.send(item(2, 5)));
        wait_for_sends(&tx, 3);
        let_block();
        rx.recv().unwrap();
        sender.join().unwrap().unwrap();
    });
    rx.recv().unwrap();
    rx.recv().unwrap();
    assert_eq!(rx.recv_timeout(SHORT), Err(TryRecvError::Empty));
    drop((tx, rx));
    let stats = monitor.stats();
    assert_eq!((stats.items, stats.bytes, stats.peak_items, stats.peak_bytes), (0, 0, 2, 90));
    assert_eq!((stats.sent, monitor.name()), (3, "test"));
    assert!(stats.send_wait_us > 0 && stats.recv_wait_us >= 20_000, "{stats:?}");
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    assert_eq!(seen, [(0, 0), (1, 5), (1, 40), (1, 50), (2, 55), (2, 90)]);
}

#[test]
fn cancelling_at_any_moment_ends_every_thread() {
    for round in 0..50 {
        let cancel = Cancel::new();
        let (tx, rx) = queue(2, 10, &cancel);
        thread::scope(|scope| {
            for _ in 0..2 {
                let (tx, rx) = (tx.clone(), rx.clone());
                scope.spawn(move || while tx.send(item(0, 3)).is_ok() {});
                scope.spawn(move || while rx.recv().is_ok() {});
            }
            thread::sleep(Duration::from_micros(round * 20));
            cancel.cancel();
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_lost_reordered_or_over_the_limit(
        weights in prop::collection::vec(prop::collection::vec(0usize..40, 0..60), 1..4),
        items in 1usize..6,
        bytes in 0usize..60,
        consumers in 1usize..3,
    ) {
        let (tx, rx) = queue(items, bytes, &Cancel::new());
        let ok = Arc::new(AtomicBool::new(true));
        let seen_ok = Arc::clone(&ok);
        tx.monitor().on_depth(move |now_items, now_bytes| {
            let within = now_items <= items && (now_bytes <= bytes || now_items == 1);
            seen_ok.fetch_and(within, Ordering::Relaxed);
        });
        let received: Vec<Vec<Item>> = thread::scope(|scope| {
            for (producer, weights) in weights.iter().enumerate() {
                let tx = tx.clone();
                scope.spawn(move || {
                    for (number, &weight) in weights.iter().enumerate() {
                        tx.send(Item { producer, number, weight }).unwrap();
                    }
                });
            }
            let takers: Vec<_> = (0..consumers)
                .map(|_| {
                    let rx = rx.clone();
                    scope.spawn(move || std::iter::from_fn(|| rx.recv().ok()).collect::<Vec<_>>())
                })
                .collect();
            drop(tx);
            takers.into_iter().map(|taker| taker.join().unwrap()).collect()
        });
        prop_assert!(ok.load(Ordering::Relaxed));
        let largest = weights.iter().flatten().copied().max().unwrap_or(0);
        prop_assert!(rx.stats().peak_items <= items && rx.stats().peak_bytes <= bytes.max(largest));
        for (producer, weights) in weights.iter().enumerate() {
            let mut all: Vec<usize> = Vec::new();
            for one in &received {
                let own: Vec<usize> = one.iter().filter(|i| i.producer == producer).map(|i| i.number).collect();
                prop_assert!(own.is_sorted(), "producer {} out of order: {:?}", producer, own);
                all.extend(own);
            }
            all.sort_unstable();
            prop_assert_eq!(all, (0..weights.len()).collect::<Vec<_>>());
        }
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
                None => prop_assert_eq!(rx.try_recv().ok(), model.pop_front()),
            }
            let stats = rx.stats();
            prop_assert_eq!((stats.items, stats.bytes), (model.len(), model.iter().map(|i| i.weight).sum()));
        }
    }
}
