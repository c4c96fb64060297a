//! What is said on the standard output. Whoever reads it may have gone (`| head`): that is no failure, and the exit code still says
//! how it went.

/// As `print!`, for a reader that may have gone.
macro_rules! output {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stdout(), $($text)*);
    }};
}

/// As `println!`, for a reader that may have gone.
macro_rules! outputln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}
