#include "header-walk.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "header.h"
#include "numbers.h"

namespace imgfs {

namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kWanted = kBlock + kHeadBytes;
// What lies closer than that is read along instead of being jumped over: a read of a disk takes 40 to 280 us, in which it
// gives as much as that.
constexpr uint64_t kNear = 32 << 10;
// Each read of what is read along is twice as long as the one before.
constexpr uint64_t kLongest = 128 << 10;
// Of one walk.
constexpr size_t kMaxBytes = 4 << 20;
constexpr size_t kMaxHeaders = 1000;

// Notes the header in `block`, with `known` bytes read from there on. Bytes from it to the next header; nothing for what
// is no header.
std::optional<uint64_t> note(HeaderWalk& walk, uint64_t at, const uint8_t* block, uint64_t known) {
  Header header;
  if (isZero(block) || parseHeader(block, header) != nullptr) return std::nullopt;
  const auto size = safeCount(header.size);
  if (!size) return std::nullopt;
  FoundHeader found{static_cast<double>(at), static_cast<double>(*size), static_cast<double>(header.typeFlag), 0, {}};
  const uint64_t headBytes = std::min({uint64_t{kHeadBytes}, *size, known - kBlock});
  std::copy_n(block + kBlock, headBytes, found.head);
  found.headBytes = static_cast<double>(headBytes);
  walk.headers.push_back(found);
  walk.names.append(header.path).push_back('\0');
  walk.names.append(header.linkPath).push_back('\0');
  return kBlock + (*size + kBlock - 1) / kBlock * kBlock;
}

class Walker {
 public:
  Walker(int fd, uint64_t size, HeaderWalk& walk) : fd_(fd), size_(size), walk_(walk) {}

  // True when the header at `at` is among the bytes that were read.
  bool has(uint64_t at) const { return at >= start_ && at + kBlock <= end_; }
  const uint8_t* header(uint64_t at) const { return walk_.bytes.data() + base_ + (at - start_); }
  uint64_t known(uint64_t at) const { return end_ - at; }
  // The window under way says more than the header in it does.
  void keep() { kept_ = true; }

  // False at the end of the file, or when it cannot be read.
  bool read(uint64_t at) {
    if (end_ > start_ && at < end_ + kNear) {
      length_ = std::min(length_ * 2, kLongest);
      fill(std::max(end_ + length_, at + kWanted));
    } else {
      close();
      start_ = end_ = at;
      base_ = walk_.bytes.size();
      length_ = kPage;
      fill((at + kWanted + kPage - 1) / kPage * kPage);
    }
    return has(at);
  }

  void close() {
    if (end_ > start_ && kept_) {
      walk_.windows.push_back({static_cast<double>(start_), static_cast<double>(end_ - start_)});
    } else {
      walk_.bytes.resize(base_);
    }
    kept_ = false;
  }

 private:
  // Longer by the bytes up to `until`.
  void fill(uint64_t until) {
    until = std::min(until, size_);
    if (until <= end_) return;
    walk_.bytes.resize(base_ + (until - start_));
    while (end_ < until) {
      const ssize_t got =
          pread(fd_, walk_.bytes.data() + base_ + (end_ - start_), until - end_, static_cast<off_t>(end_));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) walk_.error = errno;
      if (got <= 0) break;
      end_ += static_cast<uint64_t>(got);
    }
    walk_.bytes.resize(base_ + (end_ - start_));
  }

  int fd_;
  uint64_t size_;
  HeaderWalk& walk_;
  // The window under way, and where its bytes begin among those of all.
  uint64_t start_ = 0, end_ = 0;
  bool kept_ = false;
  size_t base_ = 0;
  uint64_t length_ = kPage;
};

}  // namespace

HeaderWalk walkHeaders(int fd, uint64_t at, uint64_t size, uint64_t budgetUs) {
  HeaderWalk walk;
  Walker walker(fd, size, walk);
  const auto stop = std::chrono::steady_clock::now() + std::chrono::microseconds(budgetUs);
  for (bool first = true; size >= kBlock && at <= size - kBlock; first = false) {
    if (!walker.has(at)) {
      if (!first && (walk.bytes.size() > kMaxBytes || walk.headers.size() >= kMaxHeaders || std::chrono::steady_clock::now() >= stop)) {
        walk.next = static_cast<double>(at);
        break;
      }
      if (!walker.read(at)) break;
    }
    const auto step = note(walk, at, walker.header(at), walker.known(at));
    if (!step || *step <= kNear) walker.keep();
    if (!step || *step > size - at) break;
    at += *step;
  }
  walker.close();
  return walk;
}

}  // namespace imgfs
