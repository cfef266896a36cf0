//! Puts the user's expression into the kernel object, before that is loaded.
//!
//! ```text
//!  symbol ──► r0 = 0
//!             if r0 != 0 goto rest        never
//!             the expression
//!             rest: goto +0 ...           what is left of the room: reachable, or the verifier refuses it;
//!             exit                        never looked at, and taken out by the kernel
//! ```
//!
//! The object's symbols and debug information stay as they are: the function begins and ends where it did.

use std::borrow::Cow;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use tls_sniff_common::config::expression::{CAPACITY, TC, TC_RAW_IP, XDP};

use super::LoadError;
use crate::filter::expression::{
    Expression, LinkType, Program,
    translate::{Context, Encoded},
};

const SET_R0_0: Encoded = [0xb7, 0, 0, 0, 0, 0, 0, 0];
const IF_R0_NOT_0: u8 = 0x55;
const GOTO_NEXT: Encoded = [0x05, 0, 0, 0, 0, 0, 0, 0];
const EXIT: Encoded = [0x95, 0, 0, 0, 0, 0, 0, 0];

/// The object with the expression in it; as it is without one.
pub(super) fn put(
    object: &'static [u8],
    expression: Option<&Expression>,
    xdp_load_bytes: bool,
) -> Result<Cow<'static, [u8]>, LoadError> {
    let Some(expression) = expression else { return Ok(Cow::Borrowed(object)) };
    let skb = Context::Skb;
    let xdp = Context::Xdp { load_bytes: xdp_load_bytes };
    let ethernet = expression.program(LinkType::Ethernet).map_err(Clone::clone)?;
    let raw = match expression.program(LinkType::RawIp) {
        Ok(program) => program,
        Err(error) => {
            tracing::warn!("nothing matches where packets have no Ethernet header: {error}");
            &Program::nothing()
        }
    };
    let mut patched = object.to_vec();
    for (name, program, context) in
        [(TC, ethernet, skb), (TC_RAW_IP, raw, skb), (XDP, ethernet, xdp)]
    {
        let code = program.translate(context);
        if code.len() > CAPACITY {
            return Err(LoadError::LongExpression { len: code.len() });
        }
        tracing::debug!(instructions = code.len(), "expression in {name}");
        let room = room(object, name)
            .and_then(|room| patched.get_mut(room))
            .ok_or(LoadError::Missing(name))?;
        fill(room, &code).ok_or(LoadError::Missing(name))?;
    }
    Ok(Cow::Owned(patched))
}

/// Where in the object the body of a function is.
fn room(object: &[u8], name: &str) -> Option<std::ops::Range<usize>> {
    let file = object::File::parse(object).ok()?;
    // Its name is mangled: the functions are not exported.
    let symbol = file.symbols().find(|symbol| symbol.name().is_ok_and(|it| it.ends_with(name)))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let (start, _) = section.file_range()?;
    let start = usize::try_from(start.checked_add(symbol.address())?).ok()?;
    let len = usize::try_from(symbol.size()).ok()?;
    Some(start..start.checked_add(len)?)
}

/// Writes the body; `None` if the room is smaller than it should be.
fn fill(room: &mut [u8], code: &[Encoded]) -> Option<()> {
    let (room, []) = room.as_chunks_mut::<{ size_of::<Encoded>() }>() else { return None };
    let [first, second, room @ .., last] = room else { return None };
    let (body, rest) = room.split_at_mut_checked(code.len())?;
    let [low, high] = i16::try_from(code.len()).ok()?.to_le_bytes();
    *first = SET_R0_0;
    *second = [IF_R0_NOT_0, 0, low, high, 0, 0, 0, 0];
    body.copy_from_slice(code);
    rest.fill(GOTO_NEXT);
    *last = EXIT;
    Some(())
}
