#include "attributes.h"

#include <sys/stat.h>
#include <time.h>

#include <cstring>

namespace imgfs::fuse {
namespace {

constexpr double kMaxWhole = 9007199254740992.0;  // 2^53
constexpr int64_t kNanosPerSecond = 1000000000;

template <typename T>
T load(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

void setTime(int64_t ns, uint64_t& seconds, uint32_t& nanoseconds) {
  int64_t whole = ns / kNanosPerSecond;
  int64_t rest = ns % kNanosPerSecond;
  if (rest < 0) {  // before 1970: round down, the rest is never negative
    rest += kNanosPerSecond;
    whole -= 1;
  }
  seconds = static_cast<uint64_t>(whole);
  nanoseconds = static_cast<uint32_t>(rest);
}

}  // namespace

Millis nowMillis() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<Millis>(now.tv_sec) * 1000 + static_cast<Millis>(now.tv_nsec) / 1000000;
}

bool wholeNumber(double value, uint64_t& out) {
  if (!(value >= 0 && value <= kMaxWhole)) return false;  // also false for NaN
  out = static_cast<uint64_t>(value);
  return static_cast<double>(out) == value;
}

bool unpackEntry(const uint8_t* bytes, size_t length, size_t& at, PackedEntry& out) {
  if (at > length || length - at < kPackedEntrySize) return false;
  const uint8_t* from = bytes + at;
  Attributes& a = out.attributes;
  uint64_t ttl = 0;
  if (!wholeNumber(load<double>(from), a.ino) || !wholeNumber(load<double>(from + 24), a.size) ||
      !wholeNumber(load<double>(from + 32), a.blocks))
    return false;
  if (!wholeNumber(load<double>(from + 8), ttl)) return false;
  out.attrTtl = ttl;
  if (!wholeNumber(load<double>(from + 16), ttl)) return false;
  out.entryTtl = ttl;
  a.mtimeNs = load<int64_t>(from + 40);
  a.ctimeNs = load<int64_t>(from + 48);
  a.atimeNs = load<int64_t>(from + 56);
  a.mode = load<uint32_t>(from + 64);
  a.nlink = load<uint32_t>(from + 68);
  a.uid = load<uint32_t>(from + 72);
  a.gid = load<uint32_t>(from + 76);
  a.rdev = load<uint32_t>(from + 80);
  out.hasAttributes = (load<uint32_t>(from + 84) & 1) != 0;
  out.next = load<uint64_t>(from + 88);
  bool isLink = (a.mode & S_IFMT) == S_IFLNK;
  size_t targetLength = isLink ? load<uint32_t>(from + 100) : 0;
  out.file = isLink ? 0 : load<uint32_t>(from + 100);
  if (!wholeNumber(load<double>(from + 104), out.fileOffset)) return false;
  size_t nameLength = load<uint32_t>(from + 96);
  size_t padded = alignRecord(nameLength);
  if (nameLength > 255 || targetLength > kMaxPackedTarget) return false;
  if (length - at - kPackedEntrySize < padded + alignRecord(targetLength)) return false;
  out.name = std::string_view(reinterpret_cast<const char*>(from + kPackedEntrySize), nameLength);
  out.target = std::string_view(reinterpret_cast<const char*>(from + kPackedEntrySize + padded), targetLength);
  at += kPackedEntrySize + padded + alignRecord(targetLength);
  return a.ino != 0;
}

WireAttr toWire(const Attributes& a) {
  WireAttr wire{};
  wire.ino = a.ino;
  wire.size = a.size;
  wire.blocks = a.blocks;
  setTime(a.atimeNs, wire.atime, wire.atimeNsec);
  setTime(a.mtimeNs, wire.mtime, wire.mtimeNsec);
  setTime(a.ctimeNs, wire.ctime, wire.ctimeNsec);
  wire.mode = a.mode;
  wire.nlink = a.nlink;
  wire.uid = a.uid;
  wire.gid = a.gid;
  wire.rdev = a.rdev;
  // What stat(2) shows as st_blksize, and what cp and cat choose their buffers by: 128 KiB is coreutils' own choice.
  // What can be written is an upload, and each write goes to JavaScript: with 1 MiB, the largest request, cp of 256 MiB
  // makes 256 of them instead of 2048.
  constexpr uint32_t writeBits = 0222;
  wire.blksize = (wire.mode & S_IFMT) == S_IFREG && (wire.mode & writeBits) != 0 ? 1048576 : 131072;
  return wire;
}

void setValidity(uint64_t ttlMs, uint64_t& seconds, uint32_t& nanoseconds) {
  seconds = ttlMs / 1000;
  nanoseconds = static_cast<uint32_t>(ttlMs % 1000) * 1000000;
}

EntryOut makeEntry(const Attributes& attributes, uint64_t entryTtl, uint64_t attrTtl) {
  EntryOut entry{};
  entry.nodeid = attributes.ino;
  setValidity(entryTtl, entry.entryValid, entry.entryValidNsec);
  setValidity(attrTtl, entry.attrValid, entry.attrValidNsec);
  entry.attr = toWire(attributes);
  return entry;
}

bool DirectoryEncoder::add(std::string_view name, uint64_t ino, uint32_t type, uint64_t nextOffset,
                           const EntryOut* entry) {
  size_t prefix = plus_ ? sizeof(EntryOut) : 0;
  size_t length = alignRecord(prefix + sizeof(Dirent) + name.size());
  if (out_.size() + length > limit_) return false;
  size_t at = out_.size();
  out_.resize(at + length);  // zeroes the padding and, without an entry, the whole EntryOut
  char* to = out_.data() + at;
  if (plus_ && entry != nullptr) std::memcpy(to, entry, sizeof(EntryOut));
  Dirent record{ino, nextOffset, static_cast<uint32_t>(name.size()), type};
  std::memcpy(to + prefix, &record, sizeof(record));
  std::memcpy(to + prefix + sizeof(record), name.data(), name.size());
  return true;
}

}  // namespace imgfs::fuse
