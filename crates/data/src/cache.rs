//! Where what can be fetched again is kept.

use std::path::PathBuf;

/// Where a set is put and looked for if the user names no folder: `$THALWEG_CACHE/NAME`, else `thalweg/NAME` in the
/// system's folder for what can be fetched again. None if the system has none.
pub fn cache_folder(name: &str) -> Option<PathBuf> {
    let named = |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let of_system = || {
        let home = std::env::home_dir();
        let caches = if cfg!(windows) {
            named("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            home.map(|home| home.join("Library/Caches"))
        } else {
            named("XDG_CACHE_HOME").or_else(|| home.map(|home| home.join(".cache")))
        };
        caches.map(|caches| caches.join("thalweg"))
    };
    Some(named("THALWEG_CACHE").or_else(of_system)?.join(name))
}
