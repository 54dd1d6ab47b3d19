//! Test applications and scripted receivers that stall, cut, redirect and lie.
