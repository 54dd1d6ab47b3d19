//! The program from outside: started, called, stopped as its users do.

mod backup;
mod doctor;
mod help;
mod key;
mod serve;
mod support;
mod tls;
