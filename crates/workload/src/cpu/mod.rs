//! The CPU load: many generated functions, called in a seeded order (chapter 5's kernel build).
