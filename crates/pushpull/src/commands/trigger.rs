//! `pushpull trigger`.
