//! Decides who is at fault where a table refuses records: the records, or the table.
//!
//! One record in 20 may be refused for its own fault, and becomes a dead letter. If more are refused, the
//! deployment is at fault (a constraint, a trigger), and no record is put aside. Records that the table
//! accepted before the first refusal prove nothing, since the constraint may be newer. So refused records
//! wait, with all that came beside them, until enough records of their kind have come to decide:
//!
//! - if at least 19 are accepted for each one refused, the records are at fault;
//! - if more than [`REFUSED_MAX`] are refused, and more than 5 %, the table is at fault;
//! - after [`PATIENCE`] a single refused record is at fault, however few others are accepted beside it: a
//!   fleet of two targets stands still for no longer than that;
//! - records that are few enough, but beyond the share of dead letters ([`super::safeguard`]), are the
//!   table's fault once [`HISTORY`] records have come;
//! - else they wait on, and `/health` says so after [`PATIENCE`].

use std::time::Duration;

use super::safeguard::{HISTORY, Share};

/// Most refused records that wait; more wait if they are fewer than 5 % of the records that came.
pub const REFUSED_MAX: u64 = 20;
/// Time for which a single refused record waits for other records to be compared with.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// One record in 20, or 5 %, may be at fault itself.
const ONE_IN: u64 = 20;

/// Party at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The records that are refused are at fault.
    Records,
    /// The table is at fault: it refuses more than single records.
    Table,
    /// Nothing can be decided yet.
    Unknown,
}

/// Returns how many of `all` records may be refused before the table is at fault.
pub fn limit(all: u64) -> u64 {
    (all / ONE_IN).max(REFUSED_MAX)
}

/// Judges `refused` of `all` records of their kinds, the first of which came `waited` ago. `share` counts
/// the records that became dead letters before.
pub fn judge(refused: u64, all: u64, waited: Duration, share: &Share) -> Blame {
    let is_few = refused.saturating_mul(ONE_IN) <= all;
    let is_single = refused == 1 && all > 1 && waited >= PATIENCE;
    if refused > limit(all) {
        Blame::Table
    } else if (is_few || is_single) && refused <= share.allowed(all) {
        Blame::Records
    } else if all >= HISTORY {
        Blame::Table
    } else {
        Blame::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::Blame::{Records, Table, Unknown};
    use super::*;

    fn fresh(refused: u64, all: u64) -> Blame {
        judge(refused, all, Duration::ZERO, &Share::default())
    }

    #[test]
    fn one_in_twenty_is_its_own_fault_and_more_than_twenty_are_the_table_s() {
        for (refused, all, fault) in [
            (1, 20, Records),
            (2, 40, Records),
            (20, 400, Records),
            (100, 2000, Records),
            (1, 1, Unknown),
            (1, 19, Unknown),
            (2, 20, Unknown),
            (20, 20, Unknown),
            (20, 399, Unknown),
            (21, 21, Table),
            (21, 419, Table),
            (21, 420, Records),
            (101, 2000, Table),
            (2000, 2000, Table),
            (u64::MAX, u64::MAX, Table),
        ] {
            assert_eq!(fresh(refused, all), fault, "{refused} of {all}");
        }
    }

    #[test]
    fn a_single_one_waits_for_others_to_be_judged_by_and_not_for_long() {
        let none = Share::default();
        for (refused, all, seconds, fault) in [
            (1, 2, 9, Unknown),
            (1, 2, 10, Records),
            (1, 19, 10, Records),
            // The lone record holds up no other.
            (1, 1, 10_000, Unknown),
            (2, 2, 10_000, Unknown),
            (2, 30, 10_000, Unknown),
        ] {
            let waited = Duration::from_secs(seconds);
            assert_eq!(judge(refused, all, waited, &none), fault, "{refused} of {all}");
        }
    }

    #[test]
    fn letters_of_before_count() {
        let mut share = Share::default();
        for _ in 0..20 {
            assert_eq!(judge(1, 3, PATIENCE, &share), Records);
            share.add(1, 3);
        }
        assert_eq!(judge(1, 3, PATIENCE, &share), Unknown);
        assert_eq!(judge(1, 20, PATIENCE, &share), Unknown);
        // Good records restore the share; if too few come within the history, the table is at fault.
        assert_eq!(judge(1, 400, PATIENCE, &share), Records);
        assert_eq!(judge(3, 400, PATIENCE, &share), Records);
        assert_eq!(judge(4, 400, PATIENCE, &share), Unknown);
        assert_eq!(judge(50, 1000, PATIENCE, &share), Table);
    }
}
