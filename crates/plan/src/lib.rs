//! The physical program: lowering, fusion, schedule, memory plan, cost.
