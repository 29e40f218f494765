// CRC-32 of what a decoder yields, computed once for the two that want it: the trailer of a gzip member, which covers
// the member, and the index, which covers a span.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>

namespace imgfs {

// CRC-32 of bytes of which the first have the CRC-32 `before`, the `length` others `after`. Not zlib's: not every
// header that declares it fits every library that has it.
uint32_t combineCrc(uint32_t before, uint32_t after, uint64_t length);

class MemberChecksum {
 public:
  void update(const uint8_t* data, size_t length) {
    part_ = static_cast<uint32_t>(crc32_z(part_, data, length));
    partLength_ += length;
  }
  void beginMember() {
    endPart();
    member_ = 0;
  }
  uint32_t member() {
    endPart();
    return member_;
  }
  // Of everything since this was last asked.
  uint32_t take() {
    endPart();
    const uint32_t taken = taken_;
    taken_ = 0;
    return taken;
  }

 private:
  // The two begin at different places: what is common to both is added to both.
  void endPart() {
    if (partLength_ == 0) return;
    member_ = combineCrc(member_, part_, partLength_);
    taken_ = combineCrc(taken_, part_, partLength_);
    part_ = 0;
    partLength_ = 0;
  }
  uint32_t member_ = 0, taken_ = 0, part_ = 0;
  uint64_t partLength_ = 0;
};

}  // namespace imgfs
