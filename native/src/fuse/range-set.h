// Which bytes of a file are present: sorted, disjoint, non-adjacent half-open ranges.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace imgfs::fuse {

struct Range {
  uint64_t begin = 0;
  uint64_t end = 0;  // one past the last byte
  bool empty() const { return end <= begin; }
  bool overlaps(const Range& other) const { return begin < other.end && other.begin < end; }
};

class RangeSet {
 public:
  void add(Range range);
  void remove(Range range);
  // True when every byte of `range` is in the set; the empty range always is.
  bool covers(Range range) const;
  // The parts of `range` that are not in the set, in order.
  std::vector<Range> missing(Range range) const;
  size_t size() const { return ranges_.size(); }
  void clear() { ranges_.clear(); }

 private:
  std::map<uint64_t, uint64_t> ranges_;  // begin to end
};

}  // namespace imgfs::fuse
