//! The edge to Redis: rate limit, lock, cache, and their in-process stand-ins.
