//! Session: feeds, fetches, variables, plan cache and the CPU device.
