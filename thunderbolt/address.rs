// SPDX-License-Identifier: GPL-2.0

//! Where a service is: the name of its device, taken apart.

use kernel::fmt;
#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
use kernel::prelude::*;

/// The place of a peer's service on this host, `<domain>-<route>.<index>`.
///
/// The core names its devices like this (`tb_xdomain_alloc()` and `enumerate_services()` in
/// `drivers/thunderbolt/xdomain.c`): domain and index decimal, the route hexadecimal in
/// small letters, no leading zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Number that Linux gave the domain, that is the host router.
    pub(crate) domain: u32,
    /// Route string of the peer in that domain.
    pub(crate) route: u64,
    /// Number that Linux gave the service among those of the peer.
    pub(crate) index: u32,
}

impl Address {
    /// Takes `name` apart.
    ///
    /// Only what the core could print is accepted, so two addresses are equal exactly when
    /// their names are: a name with something behind it, or with another spelling of the
    /// same numbers, would never match a device.
    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        let (domain, rest) = split(name, b'-')?;
        let (route, index) = split(rest, b'.')?;
        // The core keeps both in an `int`.
        let small = |digits| number(digits, 10).filter(|&n| n <= i32::MAX as u64);
        Some(Self {
            domain: u32::try_from(small(domain)?).ok()?,
            route: number(route, 16)?,
            index: u32::try_from(small(index)?).ok()?,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}.{}", self.domain, self.route, self.index)
    }
}

/// What is before and what is behind the first `separator`.
fn split(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&byte| byte == separator)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// A number as `%u` or `%llx` print it.
fn number(digits: &[u8], base: u64) -> Option<u64> {
    if digits.is_empty() || (digits.len() > 1 && digits.first() == Some(&b'0')) {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' if base == 16 => byte - b'a' + 10,
            _ => return None,
        };
        value.checked_mul(base)?.checked_add(u64::from(digit))
    })
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kunit_tests(thunderbolt_stream_address)]
mod tests {
    use super::*;

    fn check(name: &[u8], domain: u32, route: u64, index: u32) {
        let expected = Address {
            domain,
            route,
            index,
        };
        assert_eq!(Address::parse(name), Some(expected));
    }

    #[test]
    fn names_of_devices() {
        check(b"0-1.0", 0, 1, 0);
        check(b"0-0.0", 0, 0, 0);
        check(b"1-501.3", 1, 0x501, 3);
        check(b"12-abcdef.10", 12, 0xabcdef, 10);
        check(b"0-ffffffffffffffff.0", 0, u64::MAX, 0);
        check(b"2147483647-1.2147483647", 0x7fff_ffff, 1, 0x7fff_ffff);
    }

    #[test]
    fn names_that_no_device_has() {
        let names: &[&[u8]] = &[
            b"",
            b"0",
            b"0-1",
            b"0-1.",
            b"0-.0",
            b"-1.0",
            b"0.1-0",
            b"0-1.0junk",
            b"00-1.0",
            b"0-01.0",
            b"0-1.00",
            b"0-1.0\n",
            b" 0-1.0",
            b"0-A.0",
            b"0-0x1.0",
            b"+0-1.0",
            b"0-1.-1",
            b"0-1.0.0",
            b"0-1-1.0",
            b"a-1.0",
            b"0-1.a",
            b"2147483648-1.0",
            b"0-1.2147483648",
            b"0-10000000000000000.0",
            b"99999999999999999999-1.0",
            b"0-1.\xff",
            b"\xff",
        ];
        for name in names {
            assert!(Address::parse(name).is_none());
        }
    }

    #[test]
    fn printing_undoes_parsing() -> Result {
        let names = ["0-1.0", "1-501.3", "7-ffffffffffffffff.12"];
        for name in names {
            let address = Address::parse(name.as_bytes()).ok_or(EINVAL)?;
            let printed = kernel::str::CString::try_from_fmt(fmt!("{address}"))?;
            assert_eq!(printed.to_bytes(), name.as_bytes());
        }
        Ok(())
    }
}
