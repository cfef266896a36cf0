//! The counters that the kernel programs keep, one block for each hook and CPU.

use aya::maps::{Map, MapData, PerCpuArray};
use tls_sniff_common::{
    counters::{COUNTERS, Counter, CounterBlock, CounterKind},
    flow::{Hook, KERNEL_HOOKS},
};

use super::LoadError;

/// What the programs saw is what it all came to: they add to one counter for each packet, not to two.
fn count_seen(block: &mut CounterBlock) {
    let outcomes = Counter::ALL.into_iter().filter(|counter| counter.kind() != CounterKind::Aside);
    let seen = outcomes.filter_map(|counter| block.get(counter.index())).sum();
    if let Some(total) = block.get_mut(Counter::Seen.index()) {
        *total = seen;
    }
}

/// The counters that the kernel programs keep.
pub struct KernelCounters(PerCpuArray<MapData, CounterBlock>);

impl KernelCounters {
    pub(super) fn of(map: Map) -> Result<Self, LoadError> {
        PerCpuArray::try_from(map)
            .map(Self)
            .map_err(|source| LoadError::Map { map: "COUNTERS", source: Box::new(source) })
    }

    /// The counters of each hook, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// If the kernel does not give them.
    pub fn read(&self) -> Result<[(Hook, CounterBlock); KERNEL_HOOKS.len()], LoadError> {
        let mut hooks = KERNEL_HOOKS.map(|hook| (hook, [0; COUNTERS]));
        for (hook, sum) in &mut hooks {
            let cpus = self
                .0
                .get(&(*hook as u32), 0)
                .map_err(|source| LoadError::Map { map: "COUNTERS", source: Box::new(source) })?;
            for block in cpus.iter() {
                for (total, count) in sum.iter_mut().zip(block) {
                    *total += count;
                }
            }
            count_seen(sum);
        }
        Ok(hooks)
    }
}
