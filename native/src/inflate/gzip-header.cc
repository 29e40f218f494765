#include "gzip-header.h"

#include <zlib.h>

namespace imgfs::inflating {

namespace {

constexpr uint8_t kHasChecksum = 2, kHasExtra = 4, kHasName = 8, kHasComment = 16, kReserved = 0xe0;
constexpr size_t kFixedBytes = 10;

}  // namespace

GzipHeader::Result GzipHeader::feed(const uint8_t*& in, size_t& length) {
  while (part_ != Part::done && length > 0) {
    const uint8_t byte = *in++;
    --length;
    if (!take(byte)) return Result::error;
  }
  return part_ == Part::done ? Result::done : Result::more;
}

bool GzipHeader::take(uint8_t byte) {
  const uint32_t before = crc_;
  crc_ = static_cast<uint32_t>(crc32(crc_, &byte, 1));
  switch (part_) {
    case Part::fixed:
      return takeFixed(byte);
    case Part::extraLength:
      value_ |= static_cast<uint32_t>(byte) << (8 * at_);
      if (++at_ == 2) next(value_ > 0 ? Part::extra : Part::name);
      return true;
    case Part::extra:
      if (++at_ == value_) next(Part::name);
      return true;
    case Part::name:
    case Part::comment:
      if (byte == 0) next(part_ == Part::name ? Part::comment : Part::checksum);
      return true;
    case Part::checksum:
      // It is of the bytes before it.
      crc_ = before;
      value_ |= static_cast<uint32_t>(byte) << (8 * at_);
      if (++at_ < 2) return true;
      if (value_ != (crc_ & 0xffff)) error_ = "header crc mismatch";
      next(Part::done);
      return *error_ == 0;
    default: return false;
  }
}

// Magic, method, flags; then time, level and system, which nothing depends on.
bool GzipHeader::takeFixed(uint8_t byte) {
  ++at_;
  value_ = value_ << 8 | byte;
  if (at_ == 2 && value_ != 0x1f8b) error_ = "incorrect header check";
  if (at_ == 4) {
    flags_ = byte;
    if ((value_ >> 8 & 0xff) != 8) error_ = "unknown compression method";
    else if (flags_ & kReserved) error_ = "unknown header flags set";
  }
  if (at_ == kFixedBytes) next(Part::extraLength);
  return *error_ == 0;
}

// Go to `part`, or the first behind it that this header has.
void GzipHeader::next(Part part) {
  while (!isWanted(part)) part = static_cast<Part>(static_cast<uint8_t>(part) + 1);
  part_ = part;
  at_ = 0;
  if (part != Part::extra) value_ = 0;
}

bool GzipHeader::isWanted(Part part) const {
  switch (part) {
    case Part::extraLength: return flags_ & kHasExtra;
    // Only reached from its length, which says how much there is.
    case Part::extra: return value_ > 0 && (flags_ & kHasExtra);
    case Part::name: return flags_ & kHasName;
    case Part::comment: return flags_ & kHasComment;
    case Part::checksum: return flags_ & kHasChecksum;
    default: return true;
  }
}

}  // namespace imgfs::inflating
