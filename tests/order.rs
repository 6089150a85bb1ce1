//! Publishing against attaching, in every interleaving there is: the order lock and the generations of the routes, as
//! `src/broker` uses them, over loom's locks and atomics.
//!
//! A publisher remembers whom a topic is for while the generation stands, and takes the order lock from the match to the
//! last offer if anybody must not miss the message. Whoever subscribes, comes back, or has read the log to its end takes
//! it, too. Each of these locks is left out once, to see that the model finds what is lost without it.

use loom::{
    sync::{
        Arc, Mutex, MutexGuard, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// What is left out.
#[derive(Clone, Copy, PartialEq)]
enum Without {
    Nothing,
    /// The publisher takes what it matched before it had the order lock.
    MatchingAgain,
    /// The receiver goes live after a look at the log without the order lock.
    TheLockToGoLive,
    /// The subscription enters the routes without the order lock.
    TheLockToSubscribe,
}

struct World {
    without: Without,
    /// A history rule has every message recorded, whoever subscribes.
    is_ruled: bool,
    order: Mutex<()>,
    generation: AtomicUsize,
    /// Whether the receiver stands in the routes.
    routes: RwLock<bool>,
    /// Positions given; message `n` stands at position `n`.
    log: Mutex<usize>,
    outbox: Mutex<Outbox>,
    /// SUBACK is out.
    subscribed: AtomicBool,
}

struct Outbox {
    is_live: bool,
    queue: Vec<usize>,
}

/// What the receiver has got, and where its subscription begins.
struct Receiver {
    since: usize,
    taken: usize,
    got: Vec<usize>,
}

impl World {
    fn new(without: Without, is_ruled: bool, subscribed: bool) -> Arc<Self> {
        Arc::new(World {
            without,
            is_ruled,
            order: Mutex::new(()),
            generation: AtomicUsize::new(0),
            routes: RwLock::new(subscribed),
            log: Mutex::new(0),
            outbox: Mutex::new(Outbox {
                is_live: !subscribed,
                queue: Vec::new(),
            }),
            subscribed: AtomicBool::new(subscribed),
        })
    }

    fn order(&self, unless: Without) -> Option<MutexGuard<'_, ()>> {
        (self.without != unless).then(|| self.order.lock().expect("no poison"))
    }

    fn matches(&self) -> bool {
        *self.routes.read().expect("no poison")
    }

    /// As `Broker::route`. `memo` is the generation and the answer of the last match. The position, if it got one.
    fn publish(&self, memo: &mut (usize, bool)) -> Option<usize> {
        let generation = self.generation.load(Ordering::Acquire);
        if memo.0 != generation {
            *memo = (generation, self.matches());
        }
        if !(memo.1 || self.is_ruled) {
            return None;
        }
        let _order = self.order.lock().expect("no poison");
        let is_wanted = match self.without {
            Without::MatchingAgain => memo.1,
            _ => self.matches(),
        };
        let position = {
            let mut head = self.log.lock().expect("no poison");
            *head += 1;
            *head
        };
        let mut outbox = self.outbox.lock().expect("no poison");
        if is_wanted && outbox.is_live {
            outbox.queue.push(position);
        }
        Some(position)
    }

    fn head(&self) -> usize {
        *self.log.lock().expect("no poison")
    }

    /// As `Broker::enter` and `Broker::stream`.
    fn subscribe(&self) -> Receiver {
        let order = self.order(Without::TheLockToSubscribe);
        let since = self.head();
        *self.routes.write().expect("no poison") = true;
        self.generation.fetch_add(1, Ordering::Release);
        drop(order);
        self.subscribed.store(true, Ordering::Release);
        Receiver {
            since,
            taken: since,
            got: Vec::new(),
        }
    }

    /// As `Broker::catch_up`: one step. True once live.
    fn catch_up(&self, receiver: &mut Receiver) -> bool {
        let head = self.head();
        if receiver.taken < head {
            receiver.got.extend(receiver.taken + 1..=head);
            receiver.taken = head;
            return false;
        }
        let _order = self.order(Without::TheLockToGoLive);
        if self.without != Without::TheLockToGoLive && receiver.taken < self.head() {
            return false;
        }
        self.outbox.lock().expect("no poison").is_live = true;
        true
    }

    fn take(&self, receiver: &mut Receiver) {
        let queue = std::mem::take(&mut self.outbox.lock().expect("no poison").queue);
        receiver.taken = queue.last().copied().unwrap_or(receiver.taken);
        receiver.got.extend(queue);
    }
}

/// A subscription begins while two messages are published.
fn subscribing(without: Without, is_ruled: bool) {
    loom::model(move || {
        let world = World::new(without, is_ruled, false);
        let publisher = {
            let world = world.clone();
            thread::spawn(move || {
                let mut memo = (0, false);
                let mut promised = Vec::new();
                for _ in 0..2 {
                    let is_promised = world.subscribed.load(Ordering::Acquire);
                    let position = world.publish(&mut memo);
                    if is_promised {
                        promised.push(position.expect("published after SUBACK, and not recorded"));
                    }
                }
                promised
            })
        };
        let mut receiver = world.subscribe();
        let promised = publisher.join().expect("the publisher is fine");
        world.take(&mut receiver);
        let expected: Vec<_> = (receiver.since + 1..=world.head()).collect();
        assert_eq!(receiver.got, expected, "everything since, once, in order");
        assert!(promised.iter().all(|one| receiver.got.contains(one)));
    });
}

/// A receiver that was away comes back while two publishers publish.
fn coming_back(without: Without) {
    loom::model(move || {
        let world = World::new(without, false, true);
        let publishers: Vec<_> = (0..2)
            .map(|_| {
                let world = world.clone();
                thread::spawn(move || world.publish(&mut (0, true)))
            })
            .collect();
        let mut receiver = Receiver {
            since: 0,
            taken: 0,
            got: Vec::new(),
        };
        while !world.catch_up(&mut receiver) {}
        for publisher in publishers {
            publisher.join().expect("the publisher is fine");
        }
        world.take(&mut receiver);
        assert_eq!(receiver.got, [1, 2], "everything, once, in order");
    });
}

fn finds_a_loss(model: impl FnOnce() + std::panic::UnwindSafe) -> bool {
    std::panic::catch_unwind(model).is_err()
}

#[test]
fn whoever_subscribes_gets_everything_from_there_on_in_every_interleaving() {
    for is_ruled in [false, true] {
        subscribing(Without::Nothing, is_ruled);
    }
}

#[test]
fn whoever_comes_back_gets_everything_once_in_every_interleaving() {
    coming_back(Without::Nothing);
}

#[test]
fn without_any_one_of_the_locks_something_is_lost() {
    assert!(finds_a_loss(|| coming_back(Without::TheLockToGoLive)));
    for without in [Without::TheLockToSubscribe, Without::MatchingAgain] {
        assert!(finds_a_loss(move || subscribing(without, true)));
    }
}
