//! Status codes as text that lives for ever: a label needs no memory of its own.

const FIRST: usize = 100;
const LAST: usize = 999;

/// The digits of all status codes, one after the other.
static DIGITS: [u8; 3 * (LAST + 1 - FIRST)] = {
    let mut digits = [0; 3 * (LAST + 1 - FIRST)];
    let mut status = FIRST;
    while status <= LAST {
        let place = 3 * (status - FIRST);
        digits[place] = b'0' + (status / 100) as u8;
        digits[place + 1] = b'0' + (status / 10 % 10) as u8;
        digits[place + 2] = b'0' + (status % 10) as u8;
        status += 1;
    }
    digits
};

/// The three digits of a status code from 100 to 999, the only ones there are.
pub(crate) fn text(status: u16) -> &'static str {
    let digits = usize::from(status).checked_sub(FIRST).and_then(|place| DIGITS.get(3 * place..3 * place + 3));
    digits.and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_status_is_its_number() {
        for status in 100..=999 {
            assert_eq!(super::text(status), status.to_string());
        }
        assert_eq!((super::text(99), super::text(1000)), ("", ""));
    }
}
