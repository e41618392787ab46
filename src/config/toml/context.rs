//! Parts that all tables and values share while a configuration is read: the variables, and the list of faults
//! and remarks, which is collected instead of ending at the first fault.

use std::cell::RefCell;

use crate::config::environment::Environment;
use crate::config::pem::PemCache;
use crate::config::toml::fault::{ConfigFault, Remark};
use crate::config::toml::source::SourceOffset;

/// Variables, certificates that were checked, and the faults and remarks so far.
pub(in crate::config) struct ReadContext<'a> {
    /// Variables that `${NAME}` stands for.
    pub environment: &'a Environment,
    /// Results for files with certificates and keys.
    pub pem: PemCache,
    faults: RefCell<Vec<ConfigFault>>,
    remarks: RefCell<Vec<Remark>>,
}

impl<'a> ReadContext<'a> {
    pub fn new(environment: &'a Environment, faults: Vec<ConfigFault>) -> ReadContext<'a> {
        ReadContext {
            environment,
            pem: PemCache::default(),
            faults: RefCell::new(faults),
            remarks: RefCell::default(),
        }
    }

    /// Takes note of a fault.
    pub fn fault(&self, at: SourceOffset<'_>, text: impl Into<String>) {
        self.faults.borrow_mut().push(at.fault(text));
    }

    /// Takes note of a fault that has its place already.
    pub fn add(&self, fault: ConfigFault) {
        self.faults.borrow_mut().push(fault);
    }

    /// Takes note of a remark: the text is right, but may not be what was meant.
    pub fn remark(&self, at: SourceOffset<'_>, text: impl Into<String>) {
        self.remarks.borrow_mut().push(Remark { location: at.location(), text: text.into() });
    }

    /// Returns the number of faults so far.
    pub fn count(&self) -> usize {
        self.faults.borrow().len()
    }

    /// Returns all remarks, in the order of files and places, none twice.
    pub fn into_remarks(self) -> Vec<Remark> {
        let mut remarks = self.remarks.into_inner();
        remarks.sort();
        remarks.dedup();
        remarks
    }

    /// Returns all faults so far.
    pub fn into_faults(self) -> Vec<ConfigFault> {
        self.faults.into_inner()
    }
}
