//! One instance: a process that prepares its work, waits for the barrier, works and says what
//! it took, and keeps its CPU busy until the others are done too.

use super::load::Load;
use super::program;
use super::protocol::{Counted, Job, Kind, Order, Reply, Spent, receive, send};
use crate::affinity::pin;
use crate::{Error, clock};
use std::io::{self, BufRead, BufReader, Write};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

/// How often an instance says how far it is, at most.
const REPORT_NS: u64 = 250_000_000;

/// Does what the process that started this one says over standard input, answering on standard
/// output; returns when the input ends.
///
/// # Errors
///
/// The work cannot be done, or the input is not what [`run`](super::run) writes. The one who
/// measures has been told, so that there is no need to print it.
pub fn instance() -> Result<(), Error> {
    serve(BufReader::new(io::stdin()), io::stdout())
}

/// What an instance waits for.
#[derive(Debug)]
pub(super) enum Event {
    /// The next order; `None` at the end of them.
    Order(Result<Option<Order>, Error>),
    /// The program has ended, at this time of the monotonic clock.
    ProgramEnded { at_ns: u64 },
}

pub(super) fn serve(
    mut input: impl BufRead + Send + 'static,
    mut output: impl Write,
) -> Result<(), Error> {
    let (sender, events) = channel();
    let orders = sender.clone();
    thread::spawn(move || {
        loop {
            let order = receive(&mut input);
            let last = !matches!(order, Ok(Some(_)));
            if orders.send(Event::Order(order)).is_err() || last {
                break;
            }
        }
    });
    let done = work(&Events { sender, events }, &mut output);
    if let Err(error) = &done {
        // The other end may be what failed.
        let _ = send(&mut output, &Reply::Failed { error: error.to_string() });
    }
    done
}

/// Orders, and ends of programs, as they come.
#[derive(Debug)]
pub(super) struct Events {
    /// For those that have something to tell.
    pub(super) sender: Sender<Event>,
    events: Receiver<Event>,
}

impl Events {
    /// Waits for the next; the end of orders where nobody is left to send one.
    pub(super) fn next(&self) -> Event {
        self.events.recv().unwrap_or(Event::Order(Ok(None)))
    }

    /// Waits for the start; `None` where the end came first.
    pub(super) fn start(&self) -> Result<Option<u64>, Error> {
        match self.next() {
            Event::Order(Ok(Some(Order::Start { at_ns }))) => {
                thread::sleep(Duration::from_nanos(at_ns.saturating_sub(clock::now())));
                Ok(Some(at_ns))
            }
            Event::Order(Ok(None)) => Ok(None),
            other => Err(unexpected(other)),
        }
    }

    /// Whether to go on; `fault` takes what came instead of the end.
    fn go_on(&self, fault: &mut Option<Error>) -> bool {
        match self.events.try_recv() {
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) | Ok(Event::Order(Ok(None))) => {}
            Ok(other) => *fault = Some(unexpected(other)),
        }
        false
    }
}

/// The error of an event that should not have come.
pub(super) fn unexpected(event: Event) -> Error {
    match event {
        Event::Order(Err(error)) => error,
        other => Error::Peer(format!("unexpected message of the other process: {other:?}")),
    }
}

fn work(events: &Events, output: &mut impl Write) -> Result<(), Error> {
    let job = match events.next() {
        Event::Order(Ok(Some(Order::Prepare(job)))) => job,
        Event::Order(Ok(None)) => return Ok(()),
        other => return Err(unexpected(other)),
    };
    // Before the memory is there, so that it is near that CPU.
    if let Some(cpu) = job.cpu {
        pin(cpu)?;
    }
    let Job { index, kind, .. } = job;
    match kind {
        Kind::Program { command } => program::work(&command, index, events, output),
        Kind::Generated { seed, text, data, passes } => {
            generated(Load::new(seed, text, data)?, passes, events, output)
        }
    }
}

fn generated(
    mut load: Load,
    passes: u64,
    events: &Events,
    output: &mut impl Write,
) -> Result<(), Error> {
    let mut fault = None;
    // The first pass is slow: caches and the processor's frequency have to come up.
    if !load.pass(|| events.go_on(&mut fault)) {
        return fault.map_or(Ok(()), Err);
    }
    send(output, &Reply::Ready { functions: Some(load.functions()) })?;
    let Some(started) = events.start()? else { return Ok(()) };
    let before = Spent::of_thread();
    let mut reported = started;
    for done in 0..passes {
        if clock::now().saturating_sub(reported) > REPORT_NS {
            send(output, &Reply::Passes { done })?;
            reported = clock::now();
        }
        if !load.pass(|| events.go_on(&mut fault)) {
            return fault.map_or(Ok(()), Err);
        }
    }
    let seconds = clock::now().saturating_sub(started) as f64 / 1e9;
    let spent = Spent::of_thread().since(before);
    let checksum = Some(format!("{:016x}", load.checksum()));
    send(output, &Reply::Counted(Counted { seconds, spent, checksum }))?;
    let mut extra = 0;
    while load.pass(|| events.go_on(&mut fault)) {
        extra += 1;
    }
    match fault {
        Some(error) => Err(error),
        None => send(output, &Reply::Extra { done: extra }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::protocol::Job;
    use std::io::{PipeReader, PipeWriter, pipe};
    use std::thread::JoinHandle;

    struct Parent {
        orders: PipeWriter,
        replies: BufReader<PipeReader>,
        instance: JoinHandle<Result<(), Error>>,
    }

    fn parent() -> Parent {
        let ((input, orders), (replies, output)) = (pipe().unwrap(), pipe().unwrap());
        let instance = thread::spawn(move || serve(BufReader::new(input), output));
        Parent { orders, replies: BufReader::new(replies), instance }
    }

    impl Parent {
        fn order(&mut self, order: &Order) {
            send(&mut self.orders, order).unwrap();
        }

        fn reply(&mut self) -> Reply {
            receive(&mut self.replies).unwrap().unwrap()
        }

        /// Closes the instance's input; its last messages and how it ended.
        fn end(mut self) -> (Option<Reply>, Result<(), Error>) {
            drop(self.orders);
            let ended = self.instance.join().unwrap();
            (receive(&mut self.replies).unwrap(), ended)
        }
    }

    fn prepare(passes: u64) -> Order {
        let kind = Kind::Generated { seed: 3, text: 1 << 17, data: 1 << 17, passes };
        Order::Prepare(Job { index: 0, cpu: None, kind })
    }

    #[test]
    fn the_work_is_counted_and_the_rest_is_not() {
        let mut parent = parent();
        parent.order(&prepare(1));
        assert!(matches!(parent.reply(), Reply::Ready { functions: Some(100..) }));
        parent.order(&Order::Start { at_ns: clock::now() + 1_000_000 });
        let Reply::Counted(counted) = parent.reply() else { panic!() };
        assert!(counted.seconds > 0.0 && counted.spent.cpu.total() > 0.0, "{counted:?}");
        assert_eq!(counted.checksum.unwrap().len(), 16);
        thread::sleep(Duration::from_millis(200));
        let (last, ended) = parent.end();
        assert!(matches!(last, Some(Reply::Extra { done: 1.. })), "{last:?}");
        ended.unwrap();
    }

    #[test]
    fn the_end_of_input_ends_it_at_any_time() {
        let idle = parent();
        assert!(matches!(idle.end(), (None, Ok(()))));
        let mut ready = parent();
        ready.order(&prepare(1));
        ready.reply();
        assert!(matches!(ready.end(), (None, Ok(()))));
        let mut working = parent();
        working.order(&prepare(u64::MAX));
        working.reply();
        working.order(&Order::Start { at_ns: clock::now() });
        assert!(matches!(working.reply(), Reply::Passes { .. }));
        working.end().1.unwrap();
    }

    #[test]
    fn what_is_no_order_ends_it_with_an_error() {
        for before in 0..3 {
            let mut parent = parent();
            if before > 0 {
                parent.order(&prepare(u64::MAX));
                parent.reply();
            }
            if before > 1 {
                parent.order(&Order::Start { at_ns: clock::now() });
            }
            parent.orders.write_all(b"{\"run\": 1}\n").unwrap();
            assert!(matches!(parent.reply(), Reply::Failed { .. }));
            assert!(matches!(parent.end(), (None, Err(Error::Peer(_)))));
        }
    }
}
