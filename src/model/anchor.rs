//! Fingerprints of messages that were read. By them a reader recognises the log of a partition: a log that
//! was cut, or begun anew under the same name, has other messages at the same offsets.

use std::fmt;

/// Offset and fingerprint of a message that was read and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Offset of the message.
    pub offset: i64,
    /// [`fingerprint`] of the message.
    pub hash: u64,
}

/// Anchors of one log, the newest first. Older anchors lie farther apart: there is at most one for each power
/// of two of the distance to the newest. A log of 10^9 messages has about 30. After a loss a reader goes back
/// by a few times as many messages as were lost.
///
/// As text: `OFFSET:HASH` in decimal and hexadecimal digits, parted by blanks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Anchors(Vec<Anchor>);

impl Anchors {
    /// Reads the text, up to the first word that is not of this form. Without anchors no log is recognised.
    pub fn parse(text: &str) -> Anchors {
        let anchor = |word: &str| {
            let (offset, hash) = word.split_once(':')?;
            Some(Anchor { offset: offset.parse().ok()?, hash: u64::from_str_radix(hash, 16).ok()? })
        };
        Anchors(text.split_whitespace().map_while(anchor).collect())
    }

    /// Adds the newest anchor, and drops those that are too close to others.
    pub fn add(&mut self, new: Anchor) {
        self.cut(new.offset);
        let rank = |old: &Anchor| (new.offset - old.offset).ilog2();
        let mut kept: Vec<Anchor> = Vec::new();
        // Of each power of two the oldest anchor stays: if the newer one stayed, none would ever grow old.
        for old in self.0.iter().rev() {
            if kept.last().is_none_or(|before| rank(before) != rank(old)) {
                kept.push(*old);
            }
        }
        kept.push(new);
        kept.reverse();
        self.0 = kept;
    }

    /// Drops the anchors from this offset on.
    pub fn cut(&mut self, offset: i64) {
        self.0.retain(|anchor| anchor.offset < offset);
    }

    /// Returns the anchor at an offset.
    pub fn at(&self, offset: i64) -> Option<Anchor> {
        self.0.iter().find(|anchor| anchor.offset == offset).copied()
    }

    /// Returns the newest anchor with `from <= offset < until`.
    pub fn newest(&self, from: i64, until: i64) -> Option<Anchor> {
        self.0.iter().find(|anchor| (from..until).contains(&anchor.offset)).copied()
    }
}

impl fmt::Display for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Anchor { offset, hash }) in self.0.iter().enumerate() {
            let blank = if index > 0 { " " } else { "" };
            write!(f, "{blank}{offset}:{hash:x}")?;
        }
        Ok(())
    }
}

/// Hashes a message: its key, payload and time, in milliseconds since 1970. It is FNV-1a over
/// words of 8 bytes, little-endian, each part followed by its length: stored hashes rest on it, so
/// it stays the same in every version. It is no defence against forgers.
pub fn fingerprint(key: &[u8], payload: &[u8], sent_ms: i64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut mix = |word: u64| {
        hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    };
    for part in [key, payload] {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        mix(u64::from_le_bytes(last));
        mix(part.len() as u64);
    }
    mix(sent_ms as u64);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(offset: i64) -> Anchor {
        Anchor { offset, hash: offset as u64 * 31 }
    }

    #[test]
    fn a_hash_is_the_same_in_every_version_and_of_everything() {
        let hash = fingerprint(b"site", b"{\"v\":1,\"kind\":\"check\"}", 1_700_000_000_000);
        assert_eq!(hash, HASH);
        let others = [
            fingerprint(b"site", b"{\"v\":1,\"kind\":\"check\"}", 1_700_000_000_001),
            fingerprint(b"site", b"{\"v\":1,\"kind\":\"chfck\"}", 1_700_000_000_000),
            fingerprint(b"site{", b"\"v\":1,\"kind\":\"check\"}", 1_700_000_000_000),
            fingerprint(b"", b"", 0),
            fingerprint(b"\0", b"", 0),
            fingerprint(b"", b"\0", 0),
        ];
        for (index, other) in others.iter().enumerate() {
            assert!(*other != hash && !others[..index].contains(other), "{index}");
        }
    }

    const HASH: u64 = 6_419_016_671_540_993_347;

    #[test]
    fn anchors_are_few_and_the_farther_back_the_farther_apart() {
        let mut anchors = Anchors::default();
        for offset in (0..1_000_000).step_by(37) {
            anchors.add(anchor(offset));
            let distance = |of: &Anchor| offset - of.offset;
            for pair in anchors.0.windows(2) {
                assert!(distance(&pair[1]) <= 5 * distance(&pair[0]).max(37), "{anchors}");
            }
            assert!(anchors.0.len() <= 20 && anchors.0[0] == anchor(offset), "{anchors}");
        }
        assert_eq!(anchors.newest(0, 5), Some(anchor(0)));
        assert_eq!(Anchors::parse(&anchors.to_string()), anchors);
    }

    #[test]
    fn what_was_cut_is_forgotten() {
        let mut anchors = Anchors::default();
        for offset in [5, 1000, 1400, 1500] {
            anchors.add(anchor(offset));
        }
        assert_eq!((anchors.at(1400), anchors.at(1401)), (Some(anchor(1400)), None));
        assert_eq!(anchors.newest(0, 1400), Some(anchor(1000)));
        assert_eq!(anchors.newest(1001, 1400), None);
        anchors.cut(1400);
        assert_eq!(anchors.newest(0, i64::MAX), Some(anchor(1000)));
        // An anchor that is added below others replaces them.
        anchors.add(anchor(7));
        assert_eq!(anchors.to_string(), "7:d9 5:9b");
    }

    #[test]
    fn text_of_strangers_gives_no_anchors() {
        for text in ["", " ", "x", "1", "1:", ":1", "1:xyz", "-1", "1:2:3"] {
            assert_eq!(Anchors::parse(text), Anchors::default(), "{text}");
        }
        assert_eq!(Anchors::parse("7:d9 x 5:9b").to_string(), "7:d9");
    }
}
