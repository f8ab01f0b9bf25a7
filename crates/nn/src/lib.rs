//! Layers, losses, initializers, optimizers and schedules: functions that add nodes.
