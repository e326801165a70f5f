//! Expressions that the crate `nftnl` lacks.
// They are made by libnftnl itself, through pointers.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::ptr::NonNull;

use nftnl::Rule;
use nftnl::expr::{Expression, Register};
use nftnl_sys as sys;

/// An expression by its name in libnftnl and its attributes, all of them 32 bit figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    name: &'static CStr,
    attributes: Vec<(u32, u32)>,
}

/// A random figure from 0 to `modulus` - 1, in the machine's byte order: `numgen random mod …`.
#[must_use]
pub fn random(modulus: u32, to: Register) -> Raw {
    Raw {
        name: c"numgen",
        attributes: vec![
            (sys::NFTNL_EXPR_NG_DREG, to.to_raw()),
            (sys::NFTNL_EXPR_NG_TYPE, libc::NFT_NG_RANDOM as u32),
            (sys::NFTNL_EXPR_NG_MODULUS, modulus),
        ],
    }
}

/// Turns a 32 bit figure into network byte order, in which alone the kernel can tell less from more:
/// it compares bytes.
#[must_use]
pub fn to_network_order(register: Register) -> Raw {
    Raw {
        name: c"byteorder",
        attributes: vec![
            (sys::NFTNL_EXPR_BYTEORDER_SREG, register.to_raw()),
            (sys::NFTNL_EXPR_BYTEORDER_DREG, register.to_raw()),
            (sys::NFTNL_EXPR_BYTEORDER_OP, libc::NFT_BYTEORDER_HTON as u32),
            (sys::NFTNL_EXPR_BYTEORDER_LEN, 4),
            (sys::NFTNL_EXPR_BYTEORDER_SIZE, 4),
        ],
    }
}

impl Expression for Raw {
    fn to_expr(&self, _: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        // SAFETY: the name is a string that ends with a zero byte, and the call only reads it.
        let expression = unsafe { sys::nftnl_expr_alloc(self.name.as_ptr()) };
        let Some(expression) = NonNull::new(expression) else {
            // Out of memory: nftnl does the same, and the trait has no place for an error. The names
            // above are known to every libnftnl that this links with.
            std::process::abort();
        };
        for &(attribute, value) in &self.attributes {
            // SAFETY: the expression was just made and is freed by nobody yet; the attribute is one of
            // its kind, a 32 bit figure, and copied.
            unsafe { sys::nftnl_expr_set_u32(expression.as_ptr(), attribute as u16, value) };
        }
        expression
    }
}
