//! What numbers in samples stand for: names, images, VMs and events.

use crate::image::{Image, ImageId, Images, Kind, LONGEST_PATH, build_id, kind};
use crate::names::{NameId, Names};
use crate::place::VmIndex;
use crate::space::{Spaces, region};
use model::{Map, Record, Role, Stream, What};

/// The longest name of a thread that is kept: Linux's have 15 bytes.
const LONGEST_NAME: usize = 64;
/// The stream of images whose kernel sent nothing.
pub(crate) const NO_STREAM: u16 = u16::MAX;

/// An event, of whatever stream: those that were asked for and counted alike are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventName {
    /// The word that was asked for.
    pub asked: String,
    /// What was counted.
    pub counted: String,
    /// Whether the unit is nanoseconds.
    pub is_time: bool,
    kind: u32,
    config: u64,
}

/// What the numbers stand for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) names: Names,
    pub(crate) images: Images,
    /// The VMs' names, raw; the first is the host.
    pub(crate) vms: Vec<String>,
    pub(crate) events: Vec<EventName>,
}

impl Known {
    /// The VMs and events that the streams speak of.
    pub(crate) fn new(streams: &[Stream]) -> Self {
        let mut known = Self { vms: vec!["host".to_owned()], ..Self::default() };
        for stream in streams {
            if stream.role != Role::Host {
                known.vm(&stream.name);
            }
            for serving in &stream.serving {
                known.vm(&serving.vm);
            }
        }
        known
    }

    /// A VM's number; the host's, where there are more than can be numbered.
    pub(crate) fn vm(&mut self, name: &str) -> VmIndex {
        let found = self.vms.iter().skip(1).position(|known| known == name);
        let at = found.map_or(self.vms.len(), |at| at + 1);
        let Ok(number) = u16::try_from(at) else { return VmIndex::HOST };
        if found.is_none() {
            self.vms.push(name.to_owned());
        }
        VmIndex(number)
    }

    /// The numbers of a stream's events.
    pub(crate) fn stream_events(&mut self, stream: &Stream) -> Vec<u16> {
        let mut columns = Vec::new();
        for event in &stream.events {
            let event = EventName {
                asked: event.asked.clone(),
                counted: event.counted.clone(),
                is_time: event.is_time,
                kind: event.kind,
                config: event.config,
            };
            let found = self.events.iter().position(|known| *known == event);
            let at = found.unwrap_or(self.events.len());
            if found.is_none() {
                self.events.push(event);
            }
            columns.push(u16::try_from(at).unwrap_or(u16::MAX));
        }
        columns
    }

    /// An image that has a name of ours.
    pub(crate) fn special(&mut self, stream: u16, kind: Kind, name: &str) -> ImageId {
        let name = self.names.id(name.as_bytes(), LONGEST_PATH);
        self.images.id(Image { stream, kind, name, build_id: None })
    }

    /// Takes what is not a sample into a stream's processes.
    pub(crate) fn apply(
        &mut self,
        spaces: &mut Spaces,
        stream: u16,
        kernel: ImageId,
        record: Record,
    ) {
        match record.what {
            What::Map(map) => self.map(spaces, stream, kernel, &map),
            What::Name { pid, tid, name, exec } => {
                let name = self.names.id(&name, LONGEST_NAME);
                spaces.name(pid, tid, name, exec);
            }
            What::Fork { pid, tid, parent } => spaces.fork(pid, tid, parent),
            What::Exit { pid, tid } => spaces.exit(pid, tid),
            What::Sample(_) | What::Switch { .. } | What::Lost { .. } | What::Throttle { .. } => {}
        }
    }

    fn map(&mut self, spaces: &mut Spaces, stream: u16, kernel: ImageId, map: &Map) {
        let of_kernel = map.pid == crate::space::KERNEL;
        let image = if of_kernel && is_kernel_itself(&map.path) {
            kernel
        } else {
            let kind = kind(&map.path, of_kernel);
            let name = self.names.id(&map.path, LONGEST_PATH);
            let build_id = build_id(map.build_id.clone());
            self.images.id(Image { stream, kind, name, build_id })
        };
        spaces.map(map.pid, region(map, image));
    }

    /// A name's bytes, raw.
    pub(crate) fn name(&self, id: NameId) -> &[u8] {
        self.names.get(id)
    }
}

/// Whether a map of the kernel's is the kernel proper, and no module of it.
fn is_kernel_itself(path: &[u8]) -> bool {
    path.starts_with(b"[kernel") || path.starts_with(b"[guest.kernel")
}
