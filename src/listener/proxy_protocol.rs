//! The PROXY protocol, versions 1 and 2: a proxy's first bytes, which say for whom it speaks.
//!
//! Exactly the header is read and no byte behind it, so whatever comes next finds the stream as it is. Nothing here
//! decides who may send such a header.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What version 2 begins with; no version 1 and no line of text does.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its end included.
const LONGEST_LINE: usize = 107;
/// The most that version 2 may announce: addresses, and what else proxies like to tell, which is skipped.
const LONGEST_BLOCK: usize = 4096;

/// Both ends of the proxy's own connection with the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxied {
    /// The client.
    pub peer: SocketAddr,
    /// Where the client reached the proxy.
    pub local: SocketAddr,
}

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The connection ended or broke inside of it.
    #[error("the PROXY header is cut off: {0}")]
    Io(#[from] io::Error),
    /// What came is no header.
    #[error("no valid PROXY header")]
    Invalid,
    /// It announces more than anybody needs.
    #[error("the PROXY header is too long")]
    TooLong,
}

/// Reads one header. `None`: the proxy speaks for itself, or does not say for whom.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<Proxied>, Fault> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == *SIGNATURE {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        let [version_and_command, family, high, low] = head;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > LONGEST_BLOCK {
            return Err(Fault::TooLong);
        }
        let mut block = vec![0; length];
        stream.read_exact(&mut block).await?;
        return parse_block(version_and_command, family, &block).ok_or(Fault::Invalid);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(Fault::Invalid);
    }
    let mut line = start.to_vec();
    // byte by byte: what is behind the line belongs to somebody else
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST_LINE {
            return Err(Fault::TooLong);
        }
        line.push(stream.read_u8().await?);
    }
    parse_line(&line).ok_or(Fault::Invalid)
}

/// The line of version 1.
fn parse_line(line: &[u8]) -> Option<Option<Proxied>> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let addresses: [&str; 4] = words.collect::<Vec<_>>().try_into().ok()?;
    let [peer, local, peer_port, local_port] = addresses;
    let address = |text: &str, port: &str| -> Option<SocketAddr> {
        let ip: IpAddr = match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok()?.into(),
            "TCP6" => text.parse::<Ipv6Addr>().ok()?.into(),
            _ => return None,
        };
        let is_number = port.bytes().all(|digit| digit.is_ascii_digit());
        let is_shortest = port == "0" || !port.starts_with('0');
        (is_number && is_shortest).then_some(())?;
        Some((ip, port.parse().ok()?).into())
    };
    Some(Some(Proxied {
        peer: address(peer, peer_port)?,
        local: address(local, local_port)?,
    }))
}

/// What follows the signature of version 2.
fn parse_block(version_and_command: u8, family: u8, block: &[u8]) -> Option<Option<Proxied>> {
    match version_and_command {
        // a health check of the proxy itself
        0x20 => return Some(None),
        0x21 => {}
        _ => return None,
    }
    match family {
        // it does not say, or it came over a socket in its own file system, which says nothing here
        0x00 | 0x31 => Some(None),
        0x11 => {
            let [peer, local] = [0, 4].map(|at| block.get(at..at + 4)?.try_into().ok());
            let [peer, local]: [[u8; 4]; 2] = [peer?, local?];
            proxied(peer.into(), local.into(), block.get(8..12)?).map(Some)
        }
        0x21 => {
            let [peer, local] = [0, 16].map(|at| block.get(at..at + 16)?.try_into().ok());
            let [peer, local]: [[u8; 16]; 2] = [peer?, local?];
            proxied(peer.into(), local.into(), block.get(32..36)?).map(Some)
        }
        _ => None,
    }
}

fn proxied(peer: IpAddr, local: IpAddr, ports: &[u8]) -> Option<Proxied> {
    let [a, b, c, d] = *ports else { return None };
    Some(Proxied {
        peer: (peer, u16::from_be_bytes([a, b])).into(),
        local: (local, u16::from_be_bytes([c, d])).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a header from `bytes` and tells what is left behind it.
    async fn parsed(bytes: &[u8]) -> Result<(Option<Proxied>, Vec<u8>), String> {
        let mut stream = bytes;
        match read(&mut stream).await {
            Ok(proxied) => Ok((proxied, stream.to_vec())),
            Err(fault) => Err(fault.to_string()),
        }
    }

    fn both(peer: &str, local: &str) -> Option<Proxied> {
        Some(Proxied {
            peer: peer.parse().unwrap(),
            local: local.parse().unwrap(),
        })
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    #[tokio::test]
    async fn a_line_of_version_1_names_both_ends_and_nothing_behind_it_is_touched() {
        for (line, proxied) in [
            (
                "PROXY TCP4 203.0.113.9 192.0.2.1 56324 1883\r\n",
                both("203.0.113.9:56324", "192.0.2.1:1883"),
            ),
            (
                "PROXY TCP6 2001:db8::9 ::1 0 65535\r\n",
                both("[2001:db8::9]:0", "[::1]:65535"),
            ),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff:f...f:ffff ::1 1 2\r\n", None),
        ] {
            let behind = b"\x10\x0c\0\x04MQTT";
            let bytes = [line.as_bytes(), behind].concat();
            assert_eq!(parsed(&bytes).await, Ok((proxied, behind.to_vec())));
        }
    }

    #[tokio::test]
    async fn a_line_that_is_not_exactly_right_is_invalid() {
        for line in [
            "PROXY TCP4 203.0.113.9 192.0.2.1 56324\r\n",
            "PROXY TCP4 203.0.113.9 192.0.2.1 56324 1883 7\r\n",
            "PROXY TCP4 203.0.113.9  192.0.2.1 56324 1883\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 127.0.0.1 127.0.0.1 1 2\r\n",
            "PROXY TCP4 127.0.0.256 127.0.0.1 1 2\r\n",
            "PROXY TCP4 127.0.0.1 127.0.0.1 65536 2\r\n",
            "PROXY TCP4 127.0.0.1 127.0.0.1 +1 2\r\n",
            "PROXY TCP4 127.0.0.1 127.0.0.1 01 2\r\n",
            "PROXY TCP4 127.0.0.1 127.0.0.1 -1 2\r\n",
            "PROXY TCP4 127.0.0.1 127.0.0.1 1 \r\n",
            "PROXY UDP4 127.0.0.1 127.0.0.1 1 2\r\n",
            "PROXY tcp4 127.0.0.1 127.0.0.1 1 2\r\n",
            "PROXYTCP4 127.0.0.1 127.0.0.1 1 2\r\n",
            "proxy TCP4 127.0.0.1 127.0.0.1 1 2\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ] {
            let told = parsed(line.as_bytes()).await;
            assert_eq!(told, Err("no valid PROXY header".to_owned()), "{line}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        let told = parsed(endless.as_bytes()).await;
        assert_eq!(told, Err("the PROXY header is too long".to_owned()));
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_LINE - 16));
        assert_eq!(parsed(longest.as_bytes()).await, Ok((None, vec![])));
    }

    #[tokio::test]
    async fn a_block_of_version_2_names_both_ends_and_its_extras_are_skipped() {
        let four = [203, 0, 113, 9, 192, 0, 2, 1, 0xdc, 0x04, 0x07, 0x5b];
        let mut six = [0; 36];
        six[15] = 1;
        six[31] = 2;
        six[32..].copy_from_slice(&[0, 7, 0, 8]);
        let extras = [&four[..], &[0x20, 0, 3, 1, 2, 3]].concat();
        for (bytes, proxied) in [
            (
                v2(0x21, 0x11, &four),
                both("203.0.113.9:56324", "192.0.2.1:1883"),
            ),
            (
                v2(0x21, 0x11, &extras),
                both("203.0.113.9:56324", "192.0.2.1:1883"),
            ),
            (v2(0x21, 0x21, &six), both("[::1]:7", "[::2]:8")),
            (v2(0x20, 0x11, &four), None),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x21, 0x00, &[1, 2, 3]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            let whole = [&bytes[..], b"behind"].concat();
            assert_eq!(parsed(&whole).await, Ok((proxied, b"behind".to_vec())));
        }
    }

    #[tokio::test]
    async fn a_block_of_another_version_command_or_size_is_refused() {
        for bytes in [
            v2(0x11, 0x11, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x31, 0x11, &[0; 12]),
            v2(0x21, 0x12, &[0; 12]),
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x21, &[0; 35]),
        ] {
            let told = parsed(&bytes).await;
            assert_eq!(told, Err("no valid PROXY header".to_owned()), "{bytes:?}");
        }
        let told = parsed(&v2(0x20, 0, &[0; LONGEST_BLOCK + 1])).await;
        assert_eq!(told, Err("the PROXY header is too long".to_owned()));
    }

    #[tokio::test]
    async fn a_header_that_ends_too_early_is_told_as_such_wherever_it_is_cut() {
        let line = b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 1883\r\n".to_vec();
        for whole in [line, v2(0x21, 0x11, &[7; 12])] {
            for cut in 0..whole.len() {
                let told = parsed(&whole[..cut]).await.unwrap_err();
                assert!(told.starts_with("the PROXY header is cut off"), "{told}");
            }
        }
    }
}
