//! HTTP for the pages of a daemon: listener, requests, responses. The caller decides what is answered.

pub mod http;
