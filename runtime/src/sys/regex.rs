//! regcomp(3) and regexec(3).

use std::ffi::CString;

/// A compiled extended regular expression.
pub struct Regex(Box<libc::regex_t>);

impl std::fmt::Debug for Regex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Regex")
    }
}

impl Regex {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// The reason in words.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let pattern = CString::new(pattern).map_err(|error| error.to_string())?;
        let mut compiled: Box<std::mem::MaybeUninit<libc::regex_t>> =
            Box::new(std::mem::MaybeUninit::zeroed());
        let flags = libc::REG_EXTENDED | libc::REG_NOSUB;
        // SAFETY: `compiled` is valid for a regex_t and stays where it is; `pattern` is NUL-terminated.
        let result = unsafe { libc::regcomp(compiled.as_mut_ptr(), pattern.as_ptr(), flags) };
        if result == 0 {
            // SAFETY: regcomp(3) has initialised it.
            return Ok(Self(unsafe { compiled.assume_init() }));
        }
        let mut text = [0_u8; 128];
        // SAFETY: the buffer is valid for the length given, and the result is NUL-terminated.
        unsafe { libc::regerror(result, compiled.as_ptr(), text.as_mut_ptr().cast(), text.len()) };
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        Err(String::from_utf8_lossy(&text[..end]).into_owned())
    }

    /// Whether it matches anywhere in `text`. Nothing is found in a text with a NUL character.
    pub fn matches(&self, text: &str) -> bool {
        let Ok(text) = CString::new(text) else { return false };
        // SAFETY: the expression is compiled, `text` is NUL-terminated, and no matches are asked for.
        unsafe { libc::regexec(&raw const *self.0, text.as_ptr(), 0, std::ptr::null_mut(), 0) == 0 }
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: compiled by regcomp(3) and freed once.
        unsafe { libc::regfree(&raw mut *self.0) };
    }
}
