//! What goes over the control port: a script or a file with its length one way; the other way a
//! script's output as it comes and then the boot's token, the exit status and a line's end. The token
//! is secret and random, so output may hold any bytes.

/// A request to run a script.
pub(crate) fn request(script: &str) -> Vec<u8> {
    format!("run {}\n{script}", script.len()).into_bytes()
}

/// What stands before the contents of a file that is put in; the place has no spaces.
pub(crate) fn put(place: &str, mode: u32, length: usize) -> Vec<u8> {
    format!("put {length} {:o} {place}\n", mode & 0o7777).into_bytes()
}

/// Finds the answer's end in a stream that arrives in pieces.
pub(crate) struct Answer {
    token: Vec<u8>,
    held: Vec<u8>,
}

/// What is known after a piece.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Output that is certain to be output; more may come.
    Output(Vec<u8>),
    /// The last output and the word after the token.
    End(Vec<u8>, String),
}

impl Answer {
    /// The answer of a boot with this token.
    pub(crate) fn new(token: &str) -> Self {
        Answer { token: format!("{token} ").into_bytes(), held: Vec::new() }
    }

    /// Takes the next piece of the stream.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Piece {
        self.held.extend_from_slice(piece);
        if let Some(start) = find(&self.held, &self.token) {
            let rest = &self.held[start + self.token.len()..];
            if let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let word = String::from_utf8_lossy(&rest[..end]).into_owned();
                self.held.truncate(start);
                return Piece::End(std::mem::take(&mut self.held), word);
            }
            return Piece::Output(self.held.drain(..start).collect());
        }
        let certain = self.held.len() - self.beginning();
        Piece::Output(self.held.drain(..certain).collect())
    }

    /// How many bytes at the end may be the beginning of the token.
    fn beginning(&self) -> usize {
        let most = self.held.len().min(self.token.len() - 1);
        (1..=most).rev().find(|&n| self.held.ends_with(&self.token[..n])).unwrap_or(0)
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a stream in pieces of `size` and returns the output and the status.
    fn fed(stream: &[u8], size: usize) -> (Vec<u8>, Option<String>) {
        let mut answer = Answer::new("secret");
        let mut output = Vec::new();
        for piece in stream.chunks(size) {
            match answer.take(piece) {
                Piece::Output(bytes) => output.extend(bytes),
                Piece::End(bytes, status) => {
                    output.extend(bytes);
                    return (output, Some(status));
                }
            }
        }
        (output, None)
    }

    #[test]
    fn any_bytes_in_any_pieces_are_output() {
        let output: Vec<u8> = (0..=255).chain(*b"secre secret\nse").collect();
        let mut stream = output.clone();
        stream.extend(b"secret 17\nlater");
        for size in 1..stream.len() {
            assert_eq!(fed(&stream, size), (output.clone(), Some("17".to_owned())), "{size}");
        }
    }

    #[test]
    fn an_answer_without_end_has_no_status() {
        assert_eq!(fed(b"outputsecret 1", 3), (b"output".to_vec(), None));
    }

    #[test]
    fn a_request_says_its_length_in_bytes() {
        assert_eq!(request("echo é"), "run 7\necho é".as_bytes());
        assert_eq!(put("/root/x", 0o100_755, 9), b"put 9 755 /root/x\n");
    }
}
