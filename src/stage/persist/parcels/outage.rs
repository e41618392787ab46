//! Outages: the log tells why nothing is stored for now, once for each reason.

use std::fmt;
use std::time::Instant;

use crate::store::StoreError;

/// Reasons told of one outage, at most: after "refused" may come "starting up".
const REASONS: usize = 5;

/// Reason for which a try to store has failed.
#[derive(Debug)]
pub enum Trouble {
    /// The store is away, or not as it must be.
    Away(String),
    /// A clock is wrong.
    Clock(String),
    /// The tables refuse more than single records.
    Refused(String),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble::Away(error.to_string())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Away(why) | Trouble::Clock(why) | Trouble::Refused(why) => f.write_str(why),
        }
    }
}

impl Trouble {
    /// Returns the word of `/health` for this trouble.
    pub fn word(&self) -> &'static str {
        match self {
            Trouble::Away(_) => "store_away",
            Trouble::Clock(_) => "clock",
            Trouble::Refused(_) => "store_refuses",
        }
    }

    /// Returns true if the store is there, and records are held back.
    pub fn is_hold(&self) -> bool {
        !matches!(self, Trouble::Away(_))
    }

    /// Returns the key of the reason. Two reasons with equal keys are told once: figures in a reason may
    /// change all the time.
    fn key(&self) -> &str {
        match self {
            Trouble::Away(why) => why,
            _ => self.word(),
        }
    }
}

/// Time in which nothing is stored.
pub struct Outage {
    since: Instant,
    /// Word of `/health` for the newest reason.
    word: &'static str,
    is_hold: bool,
    /// Keys of the reasons that were told.
    told: Vec<String>,
}

impl Outage {
    /// Begins an outage with this trouble, and logs it.
    pub fn begin(trouble: &Trouble) -> Outage {
        match trouble {
            Trouble::Away(why) => {
                log::error!("PostgreSQL is away: {why}; waiting for it, Kafka keeps the records");
            }
            _ => say_hold(trouble),
        }
        let (since, word, is_hold) = (Instant::now(), trouble.word(), trouble.is_hold());
        Outage { since, word, is_hold, told: vec![trouble.key().to_owned()] }
    }

    /// Continues the outage with this trouble, which is logged if it is new. Returns true if the word of
    /// `/health` is another.
    pub fn go_on(&mut self, trouble: &Trouble) -> bool {
        let is_told = self.told.iter().any(|told| told == trouble.key());
        if !is_told && self.told.len() < REASONS {
            match trouble {
                Trouble::Away(why) => log::error!("PostgreSQL is away: {why}"),
                _ => say_hold(trouble),
            }
            self.told.push(trouble.key().to_owned());
        }
        self.is_hold = trouble.is_hold();
        std::mem::replace(&mut self.word, trouble.word()) != trouble.word()
    }

    /// Returns true if the store is there, and records are held back.
    pub fn is_hold(&self) -> bool {
        self.is_hold
    }

    /// Ends the outage, and logs its length.
    pub fn ends(self) {
        let seconds = self.since.elapsed().as_secs();
        if self.is_hold {
            log::info!("storing again after {seconds} s");
        } else {
            log::info!("PostgreSQL is back after {seconds} s");
        }
    }
}

fn say_hold(trouble: &Trouble) {
    log::error!(
        "nothing is stored or dropped: {trouble}; waiting for that, Kafka keeps the records"
    );
}
