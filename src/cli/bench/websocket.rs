//! As much of WebSocket as the generator needs: cheap frames out, payloads in.

/// Asks for MQTT over WebSocket.
pub const UPGRADE: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGlkZWdhdGUtYmVuY2gtMQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// Appends `payload` as one binary frame of a client. The mask is zero, which leaves the payload as it is: the server
/// unmasks it as any other.
pub fn put_frame(out: &mut Vec<u8>, payload: &[u8]) {
    out.push(0x82);
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Takes the payloads out of a server's frames, however the bytes are split.
#[derive(Debug, Default)]
pub struct Unframer {
    header: Vec<u8>,
    left: u64,
    wanted: bool,
}

impl Unframer {
    /// Appends what belongs to binary frames to `out`.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let count = bytes
                    .len()
                    .min(usize::try_from(self.left).unwrap_or(usize::MAX));
                if self.wanted {
                    out.extend_from_slice(&bytes[..count]);
                }
                self.left -= count as u64;
                bytes = &bytes[count..];
                continue;
            }
            self.header.push(bytes[0]);
            bytes = &bytes[1..];
            self.left = match self.header[..] {
                [_, length @ 0..126] => u64::from(length),
                [_, 126, high, low] => u64::from(u16::from_be_bytes([high, low])),
                [_, 127, a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
                _ => continue,
            };
            // continuation, text or binary; what is above is control
            self.wanted = self.header[0] & 0x0f < 8;
            self.header.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![];
        put_frame(&mut frame, payload);
        let mask_at = frame.len() - payload.len() - 4;
        frame.drain(mask_at..mask_at + 4);
        frame[0] = first;
        frame[1] &= 0x7f;
        frame
    }

    #[test]
    fn payloads_come_out_of_frames_of_every_length_and_split() {
        let payloads = [vec![1; 5], vec![2; 200], vec![3; 70_000], vec![]];
        let mut stream = vec![];
        for payload in &payloads {
            stream.extend(server_frame(0x82, payload));
            stream.extend(server_frame(0x89, b"ping"));
        }
        for size in [1, 7, 100_000] {
            let (mut unframer, mut out) = (Unframer::default(), vec![]);
            for part in stream.chunks(size) {
                unframer.feed(part, &mut out);
            }
            assert_eq!(out, payloads.concat());
        }
    }
}
