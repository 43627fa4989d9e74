//! Payfleet: a transactional-outbox worker fleet for payments.
//!
//! The modules stand in the order in which a payment meets them. Imports point down only: programs for people
//! (`cli`, `dev`, `load`) → stages → `settlement`, `ops` → tables → edges → `domain`; `service` imports nothing of ours.

// Programs for people.
pub mod cli;
pub mod dev;
pub mod load;

// Stages: they meet only in tables, topics and HTTP.
pub mod ingress;

pub mod relay;

pub mod worker;

pub mod callback;

pub mod reconciler;

pub mod gateway_sim;

// What stages share.
pub mod ops;
pub mod settlement;

// Tables: all SQL of a table lives with it.
pub mod accounts;
pub mod audit;
pub mod callbacks;
pub mod dead_letters;
pub mod ledger;
pub mod outbox;
pub mod routing;
pub mod transactions;

// Edges.
pub mod gateway;
pub mod kafka;
pub mod postgres;
pub mod redis;
pub mod sealing;

// The rules: no I/O, no clock, no async.
pub mod domain;

// The process shell.
pub mod service;
