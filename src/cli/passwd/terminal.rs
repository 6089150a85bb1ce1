//! A password from the terminal, which does not show it.

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use std::io::{self, Read, Write};
use zeroize::Zeroizing;

const INTERRUPT: u8 = 3;
const END_OF_INPUT: u8 = 4;
const BACKSPACE: [u8; 2] = [8, 127];
const ERASE_LINE: u8 = 21;

/// Asks on standard error and reads one line from standard input, a terminal. `Interrupted` if Ctrl-C or Ctrl-D is
/// typed instead.
pub fn ask(question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let _quiet = Quiet::begin()?;
    let mut out = io::stderr().lock();
    out.write_all(question.as_bytes())?;
    let mut line = Zeroizing::new(Vec::with_capacity(256));
    let typed = read_line(&mut line);
    out.write_all(b"\n")?;
    typed.map(|()| line)
}

fn read_line(line: &mut Vec<u8>) -> io::Result<()> {
    for byte in io::stdin().lock().bytes() {
        match byte? {
            b'\r' | b'\n' => return Ok(()),
            INTERRUPT | END_OF_INPUT => break,
            ERASE_LINE => line.clear(),
            erase if BACKSPACE.contains(&erase) => {
                // one character, which may be several bytes
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            byte => line.push(byte),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::Interrupted,
        "it was given up",
    ))
}

/// The terminal hands over what is typed as it is typed and shows nothing, as long as this lives. Ctrl-C too comes as a
/// byte: a process that ended by it would leave the terminal like this.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut modes = before.clone();
        modes.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Flush, &modes)?;
        Ok(Quiet(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // there is no other terminal to tell it to
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
