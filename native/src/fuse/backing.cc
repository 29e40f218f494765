#include "backing.h"

#include <algorithm>

namespace imgfs::fuse {
namespace {

// Of one open file: 10 MB at 150 bytes each, and 8 MiB of headers. Beyond that what was told before is forgotten, and
// asked for again by who goes back.
constexpr size_t kMaxSegments = 65536;
constexpr size_t kMaxLiteralBytes = 8 << 20;

}  // namespace

bool Backing::has(Range range) const {
  if (complete || present.covers(range)) return true;
  return shared && shared->present.covers({base + range.begin, base + range.end});
}

std::vector<Range> Backing::missing(Range range) const {
  if (complete) return {};
  std::vector<Range> gaps = present.missing(range);
  if (!shared) return gaps;
  std::vector<Range> out;
  for (const Range& gap : gaps)
    for (const Range& absent : shared->present.missing({base + gap.begin, base + gap.end}))
      out.push_back({absent.begin - base, absent.end - base});
  return out;
}

std::vector<Part> Backing::parts(Range range) const {
  if (!segmented) return {Part{file, nullptr, base + range.begin, static_cast<size_t>(range.end - range.begin)}};
  std::vector<Part> out;
  auto next = segments.upper_bound(range.begin);
  if (next != segments.begin()) --next;
  for (; next != segments.end() && next->first < range.end; ++next) {
    const auto& [begin, whole] = *next;
    uint64_t from = std::max(begin, range.begin), until = std::min(begin + whole.length, range.end);
    if (from >= until) continue;
    out.push_back({whole.file, whole.bytes, whole.offset + (from - begin), static_cast<size_t>(until - from)});
  }
  return out;
}

// What is known already stays: overlaps would have the same bytes, but parts() wants each byte once.
void Backing::addSegment(Range range, Part part) {
  if (segments.size() >= kMaxSegments || literalBytes >= kMaxLiteralBytes) {
    segments.clear();
    present.clear();
    literalBytes = 0;
  }
  for (const Range& gap : present.missing(range)) {
    Part piece = part;
    piece.offset += gap.begin - range.begin;
    piece.length = static_cast<size_t>(gap.end - gap.begin);
    if (!piece.file) literalBytes += piece.length;
    segments.emplace(gap.begin, std::move(piece));
  }
  present.add(range);
}

}  // namespace imgfs::fuse
