//! Checked readers and writers of the wire's basic types.
