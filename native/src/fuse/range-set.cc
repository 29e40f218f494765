#include "range-set.h"

#include <algorithm>

namespace imgfs::fuse {

void RangeSet::add(Range range) {
  if (range.empty()) return;
  auto next = ranges_.upper_bound(range.begin);
  if (next != ranges_.begin()) {
    auto before = std::prev(next);
    if (before->second >= range.begin) {
      range.begin = before->first;
      range.end = std::max(range.end, before->second);
      next = ranges_.erase(before);
    }
  }
  while (next != ranges_.end() && next->first <= range.end) {
    range.end = std::max(range.end, next->second);
    next = ranges_.erase(next);
  }
  ranges_.emplace_hint(next, range.begin, range.end);
}

void RangeSet::remove(Range range) {
  if (range.empty()) return;
  auto at = ranges_.upper_bound(range.begin);
  if (at != ranges_.begin()) --at;
  while (at != ranges_.end() && at->first < range.end) {
    auto [begin, end] = *at;
    if (end <= range.begin) {
      ++at;
      continue;
    }
    at = ranges_.erase(at);
    if (begin < range.begin) ranges_.emplace(begin, range.begin);
    if (end > range.end) at = ranges_.emplace(range.end, end).first;
  }
}

bool RangeSet::covers(Range range) const {
  if (range.empty()) return true;
  auto next = ranges_.upper_bound(range.begin);
  return next != ranges_.begin() && std::prev(next)->second >= range.end;
}

std::vector<Range> RangeSet::missing(Range range) const {
  std::vector<Range> gaps;
  if (range.empty()) return gaps;
  uint64_t at = range.begin;
  auto next = ranges_.upper_bound(at);
  if (next != ranges_.begin()) at = std::max(at, std::prev(next)->second);
  for (; at < range.end; ++next) {
    if (next == ranges_.end() || next->first >= range.end) {
      gaps.push_back({at, range.end});
      break;
    }
    if (next->first > at) gaps.push_back({at, next->first});
    at = std::max(at, next->second);
  }
  return gaps;
}

}  // namespace imgfs::fuse
