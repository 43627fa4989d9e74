//! Lanes: an aggregate's events all travel on one lane, which is also its Kafka partition on every topic.

use uuid::Uuid;

/// Lanes of the outbox, and partitions of every topic. Changing it means draining the outbox and making the topics anew.
pub const LANES: u16 = 16;

/// The lane of an aggregate: FNV-1a (64 bits) over the 16 bytes of its id, folded to 32 bits, modulo [`LANES`].
pub fn lane_of(aggregate: Uuid) -> i16 {
    let hash = aggregate
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let folded = (hash >> 32) ^ (hash & 0xffff_ffff);
    (folded % u64::from(LANES)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lane_of_an_aggregate_never_changes() {
        let aggregate = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);
        assert_eq!(lane_of(aggregate), lane_of(aggregate));
        assert_eq!(lane_of(Uuid::nil()), 12, "a change of the hash would send events to other partitions");
    }

    #[test]
    fn lanes_are_spread_evenly() {
        let mut counts = [0u32; LANES as usize];
        for _ in 0..16_000 {
            counts[lane_of(Uuid::now_v7()) as usize] += 1;
        }
        assert!(counts.iter().all(|n| (800..=1200).contains(n)), "{counts:?}");
    }
}
