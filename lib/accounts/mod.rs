//! Users, API keys and accounts.
