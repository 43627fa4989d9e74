//! Whatever is due is looked at again.
