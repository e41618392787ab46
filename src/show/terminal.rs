//! The terminal's size: the only part of `show` that asks the system.

use std::os::fd::AsFd;

/// Returns columns and rows of the terminal behind `stream`; none if there is no terminal, or one that does
/// not know its size.
pub fn size(stream: impl AsFd) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (columns > 0 && rows > 0).then_some((columns, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_no_size() {
        let file = std::fs::File::open("Cargo.toml").unwrap();
        assert_eq!(size(&file), None);
    }
}
