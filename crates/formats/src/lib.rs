//! Files: safetensors.
