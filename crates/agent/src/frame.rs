//! Frames: 4 bytes of length, 4 of CRC-32, then so many bytes of postcard. Little-endian.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest frame that is made: the outcome of a long load. What is taken depends on what was asked
/// for ([`Decoder::message`]).
pub const LARGEST: usize = 8 << 20;
/// Length and CRC.
const HEAD: usize = 8;

/// What came is no frame. The stream is of no use after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is longer than what was expected may be.
    #[error("a frame of {bytes} bytes, more than the limit of {most}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest that was expected.
        most: usize,
    },
    /// Its CRC differs.
    #[error("a damaged frame: its checksum is wrong")]
    Damaged,
    /// It is whole, but not a message of this version.
    #[error("a frame that is not a message of this version")]
    NotUnderstood,
}

/// A message as a frame.
///
/// # Errors
/// Where it would be too long, or is of a kind that postcard cannot write.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let body = postcard::to_stdvec(message).map_err(|_| FrameError::NotUnderstood)?;
    if body.len() > LARGEST {
        return Err(FrameError::TooLong { bytes: body.len(), most: LARGEST });
    }
    let mut frame = Vec::with_capacity(HEAD + body.len());
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Takes bytes as they come and gives whole messages.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where in the buffer the next frame begins.
    from: usize,
}

impl Decoder {
    /// Takes bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        // What was given out makes room first, so that memory follows what is not yet read.
        self.buffer.drain(..self.from);
        self.from = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether bytes are left that were not given out.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.from < self.buffer.len()
    }

    /// The next message, where it is whole, of at most `most` bytes. In memory a message can be twenty
    /// times as large.
    ///
    /// # Errors
    /// Where what came is not a frame: at the length already, not after it was waited for.
    pub fn message<T: DeserializeOwned>(&mut self, most: usize) -> Result<Option<T>, FrameError> {
        let rest = &self.buffer[self.from..];
        let Some((length, after)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > most {
            return Err(FrameError::TooLong { bytes: length, most });
        }
        let Some((checksum, after)) = after.split_first_chunk::<4>() else { return Ok(None) };
        let Some(body) = after.get(..length) else { return Ok(None) };
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return Err(FrameError::Damaged);
        }
        match postcard::take_from_bytes(body) {
            Ok((message, [])) => {
                self.from += HEAD + length;
                Ok(Some(message))
            }
            _ => Err(FrameError::NotUnderstood),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Message {
        Nothing,
        Number(u64),
        Text { name: String, values: Vec<f64>, more: Option<Box<Message>> },
    }

    fn message() -> impl Strategy<Value = Message> {
        let leaf = prop_oneof![Just(Message::Nothing), any::<u64>().prop_map(Message::Number),];
        leaf.prop_recursive(3, 8, 1, |inner| {
            (".{0,20}", proptest::collection::vec(-1e9..1e9, 0..9), proptest::option::of(inner))
                .prop_map(|(name, values, more)| Message::Text {
                    name,
                    values,
                    more: more.map(Box::new),
                })
        })
    }

    proptest! {
        #[test]
        fn messages_survive_any_cut(
            messages in proptest::collection::vec(message(), 0..6),
            piece in 1..50_usize,
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(|m| encode(m).unwrap()).collect();
            let (mut decoder, mut found) = (Decoder::default(), Vec::new());
            for bytes in bytes.chunks(piece) {
                decoder.push(bytes);
                while let Some(message) = decoder.message::<Message>(LARGEST).unwrap() {
                    found.push(message);
                }
            }
            prop_assert_eq!(found, messages);
        }

        #[test]
        fn one_changed_bit_is_seen(message in message(), place: prop::sample::Index, bit in 0..8) {
            let mut bytes = encode(&message).unwrap();
            let place = place.index(bytes.len());
            bytes[place] ^= 1_u8 << bit;
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            // A longer length waits for what never comes; everything else is refused.
            let found = decoder.message::<Message>(LARGEST);
            prop_assert!(matches!(found, Ok(None) | Err(_)), "{found:?}");
        }
    }

    #[test]
    fn a_length_of_four_gigabytes_takes_no_memory() {
        let mut decoder = Decoder::default();
        decoder.push(&[0xff; 4]);
        let too_long = FrameError::TooLong { bytes: 0xffff_ffff, most: 100 };
        assert_eq!(decoder.message::<Message>(100), Err(too_long));
        assert!(decoder.buffer.capacity() < 1000);
    }

    /// A million hostile frames, half of them with a right checksum.
    #[test]
    fn any_frame_is_refused_or_understood() {
        let mut random = hostile::Random::new(1);
        let cases = hostile::cases(1_000_000);
        let (mut refused, mut understood) = (0_u64, 0_u64);
        for _ in 0..cases {
            let body: Vec<u8> =
                (0..random.below(24)).map(|_| random.byte() >> random.below(8)).collect();
            let mut frame = Vec::new();
            frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
            let checksum =
                if random.below(2) == 0 { crc32fast::hash(&body) } else { random.number() as u32 };
            frame.extend_from_slice(&checksum.to_le_bytes());
            frame.extend_from_slice(&body);
            let mut decoder = Decoder::default();
            decoder.push(&frame);
            match decoder.message::<Message>(LARGEST) {
                Ok(Some(_)) => understood += 1,
                Ok(None) => unreachable!("the frame is whole"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > cases / 2 && understood > 0, "{refused} {understood}");
    }
}
