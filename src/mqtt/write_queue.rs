//! Bytes that wait for a socket. Small packets are joined, large payloads stay shared.
