//! HTTP in: requests become transactions, in one commit.
