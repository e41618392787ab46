//! Outages: the log tells why nothing is stored for now, once for each reason.

use std::fmt;
use std::time::Instant;

use crate::model::outage::Outage;
use crate::store::StoreError;

/// Reason for which a try to store has failed.
#[derive(Debug)]
pub enum StoreFault {
    /// The store is away, or not as it must be.
    Away(String),
    /// A clock is wrong.
    Clock(String),
    /// The tables refuse more than single records.
    Refused(String),
}

impl From<StoreError> for StoreFault {
    fn from(error: StoreError) -> StoreFault {
        StoreFault::Away(error.to_string())
    }
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreFault::Away(why) | StoreFault::Clock(why) | StoreFault::Refused(why) => {
                f.write_str(why)
            }
        }
    }
}

impl StoreFault {
    /// Returns the word of `/health` for this fault.
    pub fn word(&self) -> &'static str {
        match self {
            StoreFault::Away(_) => "store_away",
            StoreFault::Clock(_) => "clock",
            StoreFault::Refused(_) => "store_refuses",
        }
    }

    /// Returns true if the store is there, and records are held back.
    pub fn is_held_back(&self) -> bool {
        !matches!(self, StoreFault::Away(_))
    }

    /// Returns the key of the reason. Two reasons with equal keys are told once: figures in a reason may
    /// change all the time.
    fn key(&self) -> &str {
        match self {
            StoreFault::Away(why) => why,
            _ => self.word(),
        }
    }
}

/// Time in which nothing is stored.
pub struct StoreOutage {
    outage: Outage,
    /// Word of `/health` for the newest reason.
    word: &'static str,
    is_held_back: bool,
}

impl StoreOutage {
    /// Begins an outage with this fault, and logs it.
    pub fn begin(fault: &StoreFault) -> StoreOutage {
        match fault {
            StoreFault::Away(why) => {
                log::error!("PostgreSQL is away: {why}; waiting for it, Kafka keeps the records");
            }
            _ => log_hold(fault),
        }
        let mut outage = Outage::new(Instant::now());
        outage.report(fault.key());
        StoreOutage { outage, word: fault.word(), is_held_back: fault.is_held_back() }
    }

    /// Continues the outage with this fault, which is logged if it is new. Returns true if the word of
    /// `/health` is another.
    pub fn go_on(&mut self, fault: &StoreFault) -> bool {
        if self.outage.report(fault.key()) {
            match fault {
                StoreFault::Away(why) => log::error!("PostgreSQL is away: {why}"),
                _ => log_hold(fault),
            }
        }
        self.is_held_back = fault.is_held_back();
        std::mem::replace(&mut self.word, fault.word()) != fault.word()
    }

    /// Returns true if the store is there, and records are held back.
    pub fn is_held_back(&self) -> bool {
        self.is_held_back
    }

    /// Ends the outage, and logs its length.
    pub fn end(self) {
        let seconds = self.outage.length(Instant::now()).as_secs();
        if self.is_held_back {
            log::info!("storing again after {seconds} s");
        } else {
            log::info!("PostgreSQL is back after {seconds} s");
        }
    }
}

fn log_hold(fault: &StoreFault) {
    log::error!(
        "nothing is stored or dropped: {fault}; waiting until that is mended, Kafka keeps the records"
    );
}
