// SPDX-License-Identifier: GPL-2.0

//! Text of attributes to values, as `lib/kstrtox.c` does it.
//!
//! The rules of `kstrtoint(.., 0, ..)` are what programs know from every other attribute: an
//! optional sign, `0x` for hexadecimal, `0` for octal, one newline at the end, nothing else.

use kernel::prelude::*;

/// A signed number, like `kstrtoint(text, 0, ..)`.
///
/// # Errors
///
/// - `EINVAL`: no number, or something behind it.
/// - `ERANGE`: more than an `i32` holds.
pub(super) fn parse_i32(text: &[u8]) -> Result<i32> {
    let (negative, magnitude) = match text {
        [b'-', rest @ ..] => (true, parse_magnitude(rest)?),
        _ => (false, parse_magnitude(without_plus(text))?),
    };
    let magnitude = i64::try_from(magnitude).map_err(|_| ERANGE)?;
    i32::try_from(if negative { -magnitude } else { magnitude }).map_err(|_| ERANGE)
}

/// A number without minus, like `kstrtouint(text, 0, ..)`.
///
/// # Errors
///
/// - `EINVAL`: no number, a minus, or something behind it.
/// - `ERANGE`: more than a `u32` holds.
pub(super) fn parse_u32(text: &[u8]) -> Result<u32> {
    u32::try_from(parse_magnitude(without_plus(text))?).map_err(|_| ERANGE)
}

/// Yes or no, like `kstrtobool()`: looks at the first letter (`1`, `y`, `t`, `e`; `0`, `n`, `f`,
/// `d`) or at the first two (`on`, `off`), in capitals or not.
///
/// # Errors
///
/// - `EINVAL`: neither.
pub(super) fn parse_bool(text: &[u8]) -> Result<bool> {
    let mut letters = text.iter().map(u8::to_ascii_lowercase);
    match (letters.next(), letters.next()) {
        (Some(b'1' | b'y' | b't' | b'e'), _) | (Some(b'o'), Some(b'n')) => Ok(true),
        (Some(b'0' | b'n' | b'f' | b'd'), _) | (Some(b'o'), Some(b'f')) => Ok(false),
        _ => Err(EINVAL),
    }
}

fn without_plus(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"+").unwrap_or(text)
}

/// What comes behind the sign, like `_kstrtoull(text, 0, ..)`.
fn parse_magnitude(text: &[u8]) -> Result<u64> {
    let (base, text): (u32, &[u8]) = match text {
        [b'0', b'x' | b'X', rest @ ..] if rest.first().is_some_and(u8::is_ascii_hexdigit) => {
            (16, rest)
        }
        [b'0', ..] => (8, text),
        _ => (10, text),
    };
    let digits = text
        .iter()
        .map_while(|&byte| char::from(byte).to_digit(base));
    let length = digits.clone().count();
    let value = digits.map(u64::from).try_fold(0u64, |value, digit| {
        value.checked_mul(u64::from(base))?.checked_add(digit)
    });
    // In this order: too many digits are out of range whatever follows them.
    let value = value.ok_or(ERANGE)?;
    match text.get(length..) {
        Some(b"" | b"\n") if length > 0 => Ok(value),
        _ => Err(EINVAL),
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kunit_tests(thunderbolt_stream_attribute)]
mod tests {
    use super::*;

    /// What is no number for both signed and unsigned.
    const JUNK: &[&[u8]] = &[
        b"", b"\n", b" ", b" 1", b"1 ", b"1\n\n", b"1\nx", b"x", b"x\n", b"1x", b"0x", b"0xg",
        b"08", b"0o7", b"0b1", b"--1", b"+-1", b"-+1", b"++1", b"+", b"-", b"1.0", b"1e3", b"\xff",
        b"1_0",
    ];

    #[test]
    fn signed() {
        let cases: &[(&[u8], Result<i32>)] = &[
            (b"0", Ok(0)),
            (b"8\n", Ok(8)),
            (b"+5\n", Ok(5)),
            (b"-1\n", Ok(-1)),
            (b"-0", Ok(0)),
            (b"0x10", Ok(16)),
            (b"0XfF\n", Ok(255)),
            (b"-0x10", Ok(-16)),
            (b"010", Ok(8)),
            (b"00", Ok(0)),
            (b"2147483647", Ok(i32::MAX)),
            (b"-2147483648", Ok(i32::MIN)),
            (b"2147483648", Err(ERANGE)),
            (b"-2147483649", Err(ERANGE)),
            (b"18446744073709551615", Err(ERANGE)),
            (b"18446744073709551616", Err(ERANGE)),
            (b"-18446744073709551616", Err(ERANGE)),
            (b"99999999999999999999x", Err(ERANGE)),
        ];
        for (text, expected) in cases {
            assert!(parse_i32(text) == *expected);
        }
        for text in JUNK {
            assert!(parse_i32(text) == Err(EINVAL));
        }
    }

    #[test]
    fn unsigned() {
        let cases: &[(&[u8], Result<u32>)] = &[
            (b"0\n", Ok(0)),
            (b"32", Ok(32)),
            (b"+4096\n", Ok(4096)),
            (b"0x1000", Ok(4096)),
            (b"010000", Ok(4096)),
            (b"4294967295", Ok(u32::MAX)),
            (b"4294967296", Err(ERANGE)),
            (b"0xffffffffffffffff", Err(ERANGE)),
            (b"0x10000000000000000", Err(ERANGE)),
            (b"-1", Err(EINVAL)),
            (b"-0", Err(EINVAL)),
        ];
        for (text, expected) in cases {
            assert!(parse_u32(text) == *expected);
        }
        for text in JUNK {
            assert!(parse_u32(text) == Err(EINVAL));
        }
    }

    #[test]
    fn yes_or_no() {
        let yes: &[&[u8]] = &[
            b"1", b"1\n", b"y", b"Yes", b"t", b"TRUE", b"on", b"ON\n", b"oN", b"e", b"enable",
            b"12",
        ];
        let no: &[&[u8]] = &[
            b"0", b"0\n", b"n", b"No", b"f", b"False", b"off", b"OFF\n", b"of", b"d", b"disable",
        ];
        let neither: &[&[u8]] = &[
            b"", b"\n", b" 1", b"2", b"o", b"ox", b"-1", b"+1", b"\xff", b"x",
        ];
        for text in yes {
            assert!(parse_bool(text) == Ok(true));
        }
        for text in no {
            assert!(parse_bool(text) == Ok(false));
        }
        for text in neither {
            assert!(parse_bool(text) == Err(EINVAL));
        }
    }
}
