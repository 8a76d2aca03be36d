//! A profile: samples, added up by all that they have in common.

use crate::image::{ImageId, Kind};
use crate::known::{EventName, Known, NO_STREAM};
use crate::names::NameId;
use crate::place::{Layer, Part, Placed, VmIndex};
use crate::records::Records;
use crate::report::StreamReport;
use crate::walk::Walk;
use ahash::AHashMap;
use model::{BuildId, Stream};

/// How a profile is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Processes of one name are kept apart by their numbers.
    pub by_pid: bool,
}

/// What the samples of an entry have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The stream that has the samples.
    pub stream: u16,
    /// The event, by its number in [`Profile::events`].
    pub event: u16,
    /// The VM that caused them.
    pub vm: VmIndex,
    /// The mode.
    pub layer: Layer,
    /// What for.
    pub part: Part,
    /// In the idle thread, of an event that goes on while a CPU is idle.
    pub idle: bool,
    /// The process's number, where [`Options::by_pid`] is set and it is known.
    pub pid: Option<u32>,
    /// The process's name.
    pub process: NameId,
    /// The image.
    pub image: ImageId,
    /// The address in it.
    pub address: Option<u64>,
}

/// How much of an event there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Samples.
    pub samples: u64,
    /// Events; nanoseconds of a clock: the sum of the samples' periods.
    pub events: u64,
}

/// Samples of all streams, added up.
#[derive(Debug, Clone)]
pub struct Profile {
    pub(crate) known: Known,
    /// The entries, in the order of their keys.
    pub entries: Vec<(Key, Count)>,
    /// What each stream gave, in the order of the streams.
    pub streams: Vec<StreamReport>,
}

impl Profile {
    /// Reads the records of all streams; `records` are in the order of `streams`, and may be
    /// fewer. Time is linear in the records; memory in entries and in what is known of processes.
    #[must_use]
    pub fn read<'a>(streams: &'a [Stream], records: Vec<Records<'a>>, options: Options) -> Self {
        let mut sums = Sums::default();
        let walk = Walk::run(streams, records, &mut |_, placed| {
            sums.add(placed.key(options), placed.period);
        });
        Self { known: walk.known, entries: sums.entries(), streams: walk.reports }
    }

    /// Reads the same streams again and gives each placed sample to `sink`, with names and
    /// images numbered as they are in this profile. Within a stream they come in its order.
    pub fn replay<'a>(
        streams: &'a [Stream],
        records: Vec<Records<'a>>,
        sink: &mut dyn FnMut(&Placed),
    ) {
        Walk::run(streams, records, &mut |_, placed| sink(placed));
    }

    /// The events, of all streams; those of one kind are one.
    #[must_use]
    pub fn events(&self) -> &[EventName] {
        &self.known.events
    }

    /// The VMs' names, raw; the first is the host.
    #[must_use]
    pub fn vms(&self) -> &[String] {
        &self.known.vms
    }

    /// A VM's name, raw; `host` is the host.
    #[must_use]
    pub fn vm(&self, vm: VmIndex) -> &str {
        self.known.vms.get(usize::from(vm.0)).map_or("host", String::as_str)
    }

    /// The bytes of a name, raw.
    #[must_use]
    pub fn name(&self, name: NameId) -> &[u8] {
        self.known.name(name)
    }

    /// What an image is.
    #[must_use]
    pub fn kind(&self, image: ImageId) -> Kind {
        self.known.images.get(image).map_or(Kind::Unmapped, |image| image.kind)
    }

    /// An image's path or name in brackets, raw.
    #[must_use]
    pub fn image(&self, image: ImageId) -> &[u8] {
        self.known.images.get(image).map_or(b"[unknown]", |image| self.known.name(image.name))
    }

    /// An image's build id, where it was recorded.
    #[must_use]
    pub fn build_id(&self, image: ImageId) -> Option<&BuildId> {
        self.known.images.get(image)?.build_id.as_ref()
    }

    /// The stream whose kernel mapped an image; `None` for one of a VM that sent nothing.
    #[must_use]
    pub fn image_stream(&self, image: ImageId) -> Option<usize> {
        let stream = self.known.images.get(image)?.stream;
        (stream != NO_STREAM).then_some(usize::from(stream))
    }

    /// Names and images that found no room, of all streams.
    #[must_use]
    pub fn dropped_names(&self) -> u64 {
        self.known.names.dropped + self.known.images.dropped
    }
}

/// Entries as they are added up. What is looked up for each sample is small, so that much of it
/// stays in a CPU's cache: the address, and the number of all else that the samples have in
/// common.
#[derive(Default)]
struct Sums {
    counts: AHashMap<(u32, u64), Count>,
    /// What is not added yet: number, address and period. Additions one right after the other wait
    /// for memory together.
    waiting: Vec<(u32, u64, u64)>,
    /// Keys, their addresses left out, by their numbers.
    keys: Vec<Key>,
    numbers: AHashMap<Key, u32>,
    /// Keys that came lately, with their numbers: CPUs take turns in what they do.
    recent: [Option<(Key, u32)>; RECENT],
}

/// Keys that are found without a look into the table.
const RECENT: usize = 32;
/// Samples that wait to be added.
const WAITING: usize = 512;

impl Sums {
    fn add(&mut self, key: Key, period: u64) {
        let address = key.address.unwrap_or(0);
        let key = Key { address: key.address.map(|_| 0), ..key };
        let image = key.image.0 as usize;
        let place = (image.wrapping_mul(7) ^ key.process.0 as usize ^ key.layer as usize) % RECENT;
        let number = match self.recent[place] {
            Some((last, number)) if last == key => number,
            _ => {
                let number = self.number(key);
                self.recent[place] = Some((key, number));
                number
            }
        };
        if self.waiting.len() == WAITING {
            self.add_waiting();
        }
        self.waiting.push((number, address, period));
    }

    fn add_waiting(&mut self) {
        for (number, address, period) in self.waiting.drain(..) {
            self.counts.entry((number, address)).or_default().add(period);
        }
    }

    fn number(&mut self, key: Key) -> u32 {
        *self.numbers.entry(key).or_insert_with(|| {
            self.keys.push(key);
            // So many keys find no room in memory.
            u32::try_from(self.keys.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// In the order of keys: these are ordered first, as they are few, and then their numbers.
    fn entries(mut self) -> Vec<(Key, Count)> {
        self.add_waiting();
        let mut numbers: Vec<usize> = (0..self.keys.len()).collect();
        numbers.sort_unstable_by_key(|&number| self.keys[number]);
        let mut places = vec![0_u32; numbers.len()];
        for (place, &number) in (0..).zip(&numbers) {
            places[number] = place;
        }
        let counts = self.counts.into_iter().filter_map(|((number, address), count)| {
            Some((*places.get(number as usize)?, address, count))
        });
        let mut counts: Vec<(u32, u64, Count)> = counts.collect();
        counts.sort_unstable_by_key(|&(place, address, _)| (place, address));
        let entry = |(place, address, count): (u32, u64, Count)| {
            let key = self.keys[numbers[place as usize]];
            (Key { address: key.address.map(|_| address), ..key }, count)
        };
        counts.into_iter().map(entry).collect()
    }
}

impl Placed {
    /// What it has in common with others.
    #[must_use]
    pub fn key(&self, options: Options) -> Key {
        Key {
            stream: self.stream,
            event: self.event,
            vm: self.vm,
            layer: self.layer,
            part: self.part,
            idle: self.idle,
            pid: self.pid.filter(|_| options.by_pid),
            process: self.process,
            image: self.image,
            address: self.address,
        }
    }
}

impl Count {
    /// One sample more.
    fn add(&mut self, period: u64) {
        self.samples += 1;
        self.events = self.events.saturating_add(period);
    }

    /// This and that.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            samples: self.samples + other.samples,
            events: self.events.saturating_add(other.events),
        }
    }
}
