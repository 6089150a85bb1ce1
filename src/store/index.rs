//! Where in a segment the messages stand, and which blocks of them cannot match a filter.
//!
//! Sixty-four messages share a block, or fewer if they are large: a small Bloom filter of their topics and of the levels
//! of them, so that a session that comes back with a rare filter reads only where it may find something.

use crate::mqtt::topic::{TopicFilter, TopicName};
use std::hash::{BuildHasher, Hasher};

/// Messages in a block.
pub const BLOCK: usize = 64;

/// Bytes of messages after which a block ends: what is read of the disk at a time is little more, whatever is in it.
const BLOCK_BYTES: u64 = 256 * 1024;

/// 64-bit words of a block's filter.
const WORDS: usize = 32;

/// Consecutive messages of a segment.
#[derive(Debug)]
pub struct Block {
    /// Position of the first message.
    pub first: u64,
    /// Position of the last message.
    pub last: u64,
    /// Where the first begins in the segment.
    pub at: u64,
    /// Behind the last.
    pub end: u64,
    count: usize,
    seen: Box<[u64; WORDS]>,
}

/// The blocks of one segment, in order.
#[derive(Debug, Default)]
pub struct Index {
    blocks: Vec<Block>,
}

/// Hashes of what a message must have in its topic to be wanted: any of these sets, all of its members.
#[derive(Debug, Clone)]
pub struct Wanted(Vec<Vec<u64>>);

fn bits(token: u64) -> [usize; 2] {
    let bits = WORDS * 64;
    [token as usize % bits, (token >> 32) as usize % bits]
}

/// The same in every run is not needed: an index is made anew at each start.
fn hash(place: usize, text: &str) -> u64 {
    // without a secret anyone could make topics that pass for others, which costs reading and nothing else
    let mut hasher = foldhash::fast::FixedState::with_seed(place as u64).build_hasher();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// Where the whole topic stands among the places of levels.
const WHOLE: usize = usize::MAX;

impl Wanted {
    /// What these filters want.
    pub fn by<'a>(filters: impl Iterator<Item = &'a TopicFilter>) -> Self {
        let tokens = |filter: &TopicFilter| {
            let pattern = filter.pattern();
            if !filter.has_wildcards() {
                return vec![hash(WHOLE, pattern)];
            }
            let levels = pattern.split('/').enumerate();
            levels
                .filter(|(_, level)| *level != "+" && *level != "#")
                .map(|(place, level)| hash(place, level))
                .collect()
        };
        Wanted(filters.map(tokens).collect())
    }
}

impl Block {
    fn add(&mut self, topic: &TopicName) {
        let levels = topic.split('/').enumerate();
        let levels = levels.map(|(place, level)| hash(place, level));
        for token in levels.chain([hash(WHOLE, topic)]) {
            for bit in bits(token) {
                self.seen[bit / 64] |= 1 << (bit % 64);
            }
        }
    }

    /// Whether any of its messages may be wanted.
    pub fn may_have(&self, wanted: &Wanted) -> bool {
        let has = |token: &u64| {
            bits(*token)
                .iter()
                .all(|bit| self.seen[bit / 64] & 1 << (bit % 64) != 0)
        };
        wanted.0.iter().any(|tokens| tokens.iter().all(has))
    }
}

impl Index {
    /// Notes a message that stands between `at` and `end`; positions ascend.
    pub fn add(&mut self, offset: u64, topic: &TopicName, at: u64, end: u64) {
        match self.blocks.last_mut() {
            Some(block) if block.count < BLOCK && block.end - block.at < BLOCK_BYTES => {
                block.last = offset;
                block.end = end;
                block.count += 1;
                block.add(topic);
            }
            _ => {
                let mut block = Block {
                    first: offset,
                    last: offset,
                    at,
                    end,
                    count: 1,
                    seen: Box::new([0; WORDS]),
                };
                block.add(topic);
                self.blocks.push(block);
            }
        }
    }

    /// The last position, if there is any message.
    pub fn last(&self) -> Option<u64> {
        self.blocks.last().map(|block| block.last)
    }

    /// Blocks with messages above `after`, in order.
    pub fn above(&self, after: u64) -> &[Block] {
        let start = self.blocks.partition_point(|block| block.last <= after);
        &self.blocks[start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_messages_share_no_block_with_many_others() {
        let topic = TopicName::parse("a").unwrap();
        let size = BLOCK_BYTES / 2;
        let mut index = Index::default();
        for offset in 1..=6 {
            index.add(offset, &topic, (offset - 1) * size, offset * size);
        }
        let blocks = index.above(0).iter();
        let blocks: Vec<_> = blocks.map(|block| (block.first, block.last)).collect();
        assert_eq!(blocks, [(1, 2), (3, 4), (5, 6)]);
    }

    fn filters(texts: &[&str]) -> Vec<TopicFilter> {
        let parse = |text: &&str| TopicFilter::parse(text).unwrap();
        texts.iter().map(parse).collect()
    }

    #[test]
    fn a_block_is_never_passed_over_that_holds_a_matching_topic() {
        let topics: Vec<TopicName> = (0..640)
            .map(|n| TopicName::parse(&format!("plant/{}/sensor{}/t", n % 7, n)).unwrap())
            .collect();
        let mut index = Index::default();
        for (offset, topic) in (1..).zip(&topics) {
            index.add(offset, topic, offset * 10, offset * 10 + 10);
        }
        assert_eq!(index.above(0).len(), 10);
        let texts = [
            "plant/3/sensor3/t",
            "plant/+/sensor639/#",
            "#",
            "plant/#",
            "+/+/+/t",
        ];
        for filter in filters(&texts) {
            let wanted = Wanted::by([&filter].into_iter());
            for (offset, topic) in (1..).zip(&topics) {
                if filter.matches(topic) {
                    assert!(index.above(offset - 1)[0].may_have(&wanted), "{topic:?}");
                }
            }
        }
    }

    #[test]
    fn rare_filters_pass_over_nearly_all_blocks() {
        let mut index = Index::default();
        for n in 0..64 * 1000 {
            let topic = TopicName::parse(&format!("home/{}/{}/value", n % 50, n % 2000)).unwrap();
            index.add(n + 1, &topic, n, n + 1);
        }
        let all = filters(&["home/1/absent/value", "rare/#", "+/+/absent/+"]);
        let wanted = Wanted::by(all.iter());
        let read = index
            .above(0)
            .iter()
            .filter(|b| b.may_have(&wanted))
            .count();
        assert!(read < 100, "{read} of 1000 blocks would be read in vain");
    }
}
