//! Chooses the hosts that are asked in a round: canaries, targets that take their place, and proxies.

use std::time::Instant;

use super::canary::{CANARY_TIMEOUT, Canary};
use super::monitor::{Round, TargetContact, Uplink, UplinkAction};
use super::{DoubtfulCheck, Silence};

/// Most targets that take the place of canaries: so many for each kind of silence.
const STAND_INS: usize = 3;

impl Uplink {
    /// Starts a round, and returns the hosts to ask.
    pub(super) fn begin_round(&mut self, now: Instant) -> Vec<UplinkAction> {
        let mut chosen = self.canaries.clone();
        for silence in [Silence::NameServers, Silence::Path] {
            if self.uses_stand_ins(silence) {
                // A host that can settle the check with the most distant address can settle all.
                let direct = self.held.iter().filter(|held| held.via.is_none());
                let doubts = direct.map(|held| &held.doubt);
                let farthest = doubts.filter(|doubt| doubt.silence == silence);
                let Some(doubt) = farthest.max_by_key(|doubt| doubt.distance) else { continue };
                // Choose the targets that have answered last.
                for _ in 0..STAND_INS {
                    let able = self.targets.values().filter(|TargetContact { canary, .. }| {
                        canary.speaks_for(doubt, None)
                            && chosen.iter().all(|other| other.host != canary.host)
                    });
                    let latest = able.max_by_key(|contact| contact.answered);
                    chosen.extend(latest.map(|contact| contact.canary.clone()));
                }
            }
        }
        for proxy in self.held.iter().filter_map(|held| held.via.as_ref()) {
            if chosen.iter().all(|other| !other.is_same(proxy)) {
                chosen.push(proxy.clone());
            }
        }
        self.rounds += 1;
        let number = self.rounds;
        let actions =
            chosen.iter().map(|canary| UplinkAction::Ask(canary.clone(), number)).collect();
        self.round = Some(Round {
            number,
            ends: now + CANARY_TIMEOUT,
            open: chosen.len(),
            asked: chosen,
            answered: Vec::new(),
        });
        actions
    }

    /// Notes that a canary could not be asked for a round.
    pub fn note_not_asked(&mut self, canary: &Canary, number: u64) {
        if let Some(round) = self.round.as_mut().filter(|round| round.number == number) {
            round.asked.retain(|asked| !asked.is_same(canary));
            round.open -= 1;
        }
    }

    /// Returns true if some host could settle the check of `target`.
    pub(super) fn can_settle(&self, doubt: &DoubtfulCheck, target: &str) -> bool {
        let own = self.targets.get(target).map(|contact| &*contact.canary.host);
        let stands_in = self.uses_stand_ins(doubt.silence);
        let stand_ins = self.targets.values().filter(|_| stands_in).map(|contact| &contact.canary);
        self.canaries.iter().chain(stand_ins).any(|canary| canary.speaks_for(doubt, own))
    }

    /// Returns true if targets take the place of canaries. For silent name servers that is also so if all
    /// canaries are addresses.
    fn uses_stand_ins(&self, silence: Silence) -> bool {
        let has_no_name = || !self.canaries.iter().any(Canary::is_name);
        self.stands_in
            || silence == Silence::NameServers && !self.canaries.is_empty() && has_no_name()
    }
}
