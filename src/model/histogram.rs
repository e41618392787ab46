//! Counts times in buckets, so that median and percentiles can be merged over hours, nodes and days, within
//! a stated error.
//!
//! Bounds are ceil(2^(i/32)) µs for i = 0, 1, 2 …, repeats left out: 1, 2, 3, …, 46, 47, 49, ….
//! Bucket b holds `bound[b-1] <= v < bound[b]` (bucket 0: zero), which is SQL's `width_bucket`.
//! A bucket [lo, hi) holds the whole microseconds lo to hi − 1, whose ratio is below 2^(1/32); their
//! geometric middle is therefore within 2^(1/64) − 1 = 1.09 % of each of them. Values from the last bound
//! on, 2^(1279/32) µs (12.4 days), all fall into the last bucket, and this error no longer holds.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// 2^(k/32) in units of 2^-62, rounded down. Exact for every bound below: with k ≠ 0 no power
/// is closer to a whole number than 2^-22, checked with big integers by the test.
const ROOTS: [u64; 32] = [
    0x4000000000000000,
    0x4166c34c5615d0eb,
    0x42d561b3e6243d8a,
    0x444c0740496d4293,
    0x45cae0f1f545eb73,
    0x47521cc5a2e6a9e0,
    0x48e1e9b9d588e19b,
    0x4a7a77d47f7b84b0,
    0x4c1bf828c6dc54b7,
    0x4dc69cdceaa72a9c,
    0x4f7a993048d088d6,
    0x513821818624b40c,
    0x52ff6b54d8a89c75,
    0x54d0ad5a753e077c,
    0x56ac1f752150a563,
    0x5891fac0e95612c7,
    0x5a827999fcef3242,
    0x5c7dd7a3b17dcf74,
    0x5e8451cfac061b5f,
    0x6096266533384a2b,
    0x62b39508aa836d6e,
    0x64dcdec3371793d1,
    0x6712460a8fc24071,
    0x69540ec8f895722d,
    0x6ba27e656b4eb57a,
    0x6dfddbcbed791baa,
    0x70666f76154a7088,
    0x72dc8373be41a454,
    0x75606373ee921c97,
    0x77f25ccdee6d7ae5,
    0x7a92be8a92436616,
    0x7d41d96db915019d,
];

/// Number of powers: up to 2^(1279/32) µs.
const POWERS: u32 = 40 * 32;

/// Bounds of the buckets, rising, in microseconds.
pub static BOUNDS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut bounds: Vec<u64> = (0..POWERS).map(bound).collect();
    bounds.dedup();
    bounds
});

/// Returns ceil(2^(power/32)).
fn bound(power: u32) -> u64 {
    let (whole, part) = (power / 32, power % 32);
    let shifted = u128::from(ROOTS[part as usize]) << whole;
    (shifted >> 62) as u64 + u64::from(part != 0)
}

/// Sparse histogram: count of each bucket. At most as many entries as there are bounds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: BTreeMap<u16, u64>,
    total: u64,
}

impl Histogram {
    /// Counts one value, in microseconds.
    pub fn add(&mut self, value_us: u64) {
        let bucket = BOUNDS.partition_point(|bound| *bound <= value_us) as u16;
        *self.counts.entry(bucket).or_default() += 1;
        self.total += 1;
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        for (bucket, count) in &other.counts {
            *self.counts.entry(*bucket).or_default() += count;
        }
        self.total += other.total;
    }

    /// Returns the value at rank ⌈percent·n/100⌉, in microseconds: the geometric middle of its bucket.
    /// `percent` is 1 to 100. None if no value was counted.
    pub fn percentile(&self, percent: u64) -> Option<f64> {
        let rank = (u128::from(self.total) * u128::from(percent)).div_ceil(100).max(1);
        let mut seen: u128 = 0;
        for (bucket, count) in &self.counts {
            seen += u128::from(*count);
            if seen >= rank {
                return Some(middle(*bucket));
            }
        }
        None
    }
}

/// Returns the geometric middle of the whole microseconds that a bucket holds.
fn middle(bucket: u16) -> f64 {
    let bounds = &*BOUNDS;
    let Some(low) = usize::from(bucket).checked_sub(1).map(|i| bounds[i]) else { return 0.0 };
    let high = bounds.get(usize::from(bucket)).map_or(low, |bound| bound - 1);
    (low as f64 * high as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns `base` to the power of 32, in limbs of 32 bits, lowest first.
    fn power_32(base: u64) -> Vec<u32> {
        let mut product = vec![1u32];
        for _ in 0..32 {
            let mut carry: u128 = 0;
            for limb in &mut product {
                let sum = u128::from(*limb) * u128::from(base) + carry;
                *limb = sum as u32;
                carry = sum >> 32;
            }
            while carry > 0 {
                product.push(carry as u32);
                carry >>= 32;
            }
        }
        product
    }

    /// Returns true if n >= 2^exponent.
    fn at_least_power_of_two(n: &[u32], exponent: u32) -> bool {
        let limb = (exponent / 32) as usize;
        n.iter().enumerate().any(|(i, l)| i > limb && *l > 0)
            || n.get(limb).is_some_and(|l| *l >> (exponent % 32) > 0)
    }

    #[test]
    fn bounds_are_the_ceilings_of_the_roots() {
        for power in 0..POWERS {
            let bound = bound(power);
            assert!(at_least_power_of_two(&power_32(bound), power), "{power}: {bound} is too low");
            assert!(
                power == 0 || !at_least_power_of_two(&power_32(bound - 1), power),
                "{power}: {bound} is too high"
            );
        }
        assert_eq!(BOUNDS.len(), 1149);
        assert!(BOUNDS.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn percentiles_are_within_the_stated_error() {
        let mut values: Vec<u64> = (0..5000u64).map(|i| i * i * 97 % 9_999_991).collect();
        let mut whole = Histogram::default();
        let (mut even, mut odd) = (Histogram::default(), Histogram::default());
        for (i, value) in values.iter().enumerate() {
            whole.add(*value);
            if i % 2 == 0 { even.add(*value) } else { odd.add(*value) }
        }
        even.merge(&odd);
        assert_eq!(whole, even);
        values.sort_unstable();
        for percent in 1..=100 {
            let exact = values[values.len() * percent / 100 - 1] as f64;
            let found = whole.percentile(percent as u64).unwrap();
            assert!((found - exact).abs() <= exact * 0.011, "p{percent}: {found} for {exact}");
        }
    }

    #[test]
    fn small_and_lone_values_are_exact() {
        assert_eq!(Histogram::default().percentile(50), None);
        for value in 0..=46 {
            let mut one = Histogram::default();
            one.add(value);
            assert_eq!(one.percentile(50), Some(value as f64));
        }
        let mut huge = Histogram::default();
        huge.add(u64::MAX);
        assert!(huge.percentile(99).is_some());
    }
}
