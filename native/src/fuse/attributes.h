// Attributes and entries as JavaScript hands them over, and their wire form.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "wire.h"

namespace imgfs::fuse {

// Milliseconds of the monotonic clock.
using Millis = uint64_t;
Millis nowMillis();

struct Attributes {
  uint64_t ino = 0, size = 0, blocks = 0;
  int64_t mtimeNs = 0, ctimeNs = 0, atimeNs = 0;
  uint32_t mode = 0, nlink = 0, uid = 0, gid = 0, rdev = 0;
};

// One name with what is known about it. `ttl` are milliseconds from now.
struct PackedEntry {
  Attributes attributes;
  uint64_t attrTtl = 0, entryTtl = 0;
  uint64_t next = 0;            // cookie of the entry behind it
  bool hasAttributes = false;   // else only ino and the type bits of mode are set
  uint32_t file = 0;            // number of the shared file that its bytes lie in; 0: ask for it at open
  uint64_t fileOffset = 0;      // where they begin there
  std::string_view name;
  std::string_view target;      // of a symbolic link; empty: ask for it
};

// Layout of one packed entry, written by src/fuse/native/packed-entry.ts; little endian, 8-byte aligned:
//   0 f64 inode   8 f64 attrTtlMs   16 f64 entryTtlMs   24 f64 size   32 f64 blocks
//  40 i64 mtimeNs  48 i64 ctimeNs   56 i64 atimeNs
//  64 u32 mode with type   68 u32 nlink   72 u32 uid   76 u32 gid   80 u32 rdev   84 u32 flags (1: has attributes)
//  88 u64 next cookie   96 u32 name length   100 u32 shared file, or length of a link's target
// 104 f64 offset in the shared file   112 name, padded to 8   behind it the target, padded to 8
constexpr size_t kPackedEntrySize = 112;
constexpr size_t kMaxPackedTarget = 255;

// Reads one packed entry at `at`; moves `at` behind it. False when it is malformed: numbers that are no whole numbers
// below 2^53, or a length beyond the end.
bool unpackEntry(const uint8_t* bytes, size_t length, size_t& at, PackedEntry& out);

// A number of JavaScript as an integer; false unless it is whole and within [0, 2^53].
bool wholeNumber(double value, uint64_t& out);

WireAttr toWire(const Attributes& attributes);

// Splits a lifetime in milliseconds into the wire's seconds and nanoseconds.
void setValidity(uint64_t ttlMs, uint64_t& seconds, uint32_t& nanoseconds);

EntryOut makeEntry(const Attributes& attributes, uint64_t entryTtl, uint64_t attrTtl);

// Type of a directory entry (DT_*) from mode bits.
inline uint32_t direntType(uint32_t mode) { return (mode & 0170000) >> 12; }

// Appends records to a directory reply of bounded size.
class DirectoryEncoder {
 public:
  DirectoryEncoder(std::string& out, size_t limit, bool plus) : out_(out), limit_(limit), plus_(plus) {}
  // False when the record does not fit any more. `entry` may be null: the kernel then looks the name up later.
  bool add(std::string_view name, uint64_t ino, uint32_t type, uint64_t nextOffset, const EntryOut* entry);

 private:
  std::string& out_;
  size_t limit_;
  bool plus_;
};

}  // namespace imgfs::fuse
